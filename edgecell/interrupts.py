"""Ctrl-C and its like: how a command is told to stop, and what its process then ends with.

It imports next to nothing: until it is there, Ctrl-C shows where Python's imports were.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Final

MESSAGE: Final = "Interrupted; no file was left half written."

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""Windows has no SIGHUP."""

_SIGNALLED: Final = 128
"""Shells add it to a signal's number."""

_ONCE_MORE_SECONDS: Final = 0.05

_received: list[int] = []


def status() -> int:
    """What the process ends with: 130 after Ctrl-C, 143 after SIGTERM."""
    return _SIGNALLED + (_received[0] if _received else signal.SIGINT)


def was_told() -> bool:
    """Whether a signal told this command to stop."""
    return bool(_received)


def raise_when_told() -> None:
    """From here on signals raise ``KeyboardInterrupt``, so that the command tidies up."""
    _received.clear()
    _handle(_interrupt)
    sys.unraisablehook = _once_more


def leave_when_told() -> None:
    """From here on signals end the process at once: nothing is begun yet, or all is done."""
    _handle(_end)


def leave(code: int) -> None:
    """Ends the process as it was told to, whatever libraries still do at their end.

    Python would end with another status where the interrupt was first met inside a library's
    extension module, and would wait for threads that nobody needs any more.
    """
    flush()
    os._exit(code)


def flush() -> None:
    """Hands over what was printed, where somebody takes it."""
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _once_more(lost: sys.UnraisableHookArgs) -> None:
    """Interrupts again where the first time came to nothing.

    A signal is met wherever Python is; in a destructor or a weak reference's callback, of which
    training has many, nobody can catch what it raises, and Python goes on.
    """
    if not (_received and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
        return
    import _thread
    import threading

    again = threading.Timer(_ONCE_MORE_SECONDS, _thread.interrupt_main, (_received[0],))
    again.daemon = True
    again.start()


def _end(number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, f"Error: {MESSAGE}\n".encode())
    finally:  # nobody may listen
        os._exit(_SIGNALLED + number)


def _handle(handler: Callable[[int, FrameType | None], Any]) -> None:
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup's
            signal.signal(number, handler)
