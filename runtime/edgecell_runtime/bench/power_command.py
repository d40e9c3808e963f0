"""A meter that a user's command reads, such as one on a USB cable."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from edgecell_runtime.bench.power_samples import JOIN_SECONDS, PowerIntegral, Reading
from edgecell_runtime.errors import UsageError

SILENCE_SECONDS: Final = 10.0
"""A command that prints nothing for so long hangs. Meters on a cable tell once or more a second."""

AGAIN_SECONDS: Final = 0.25
"""Until a command that ended is started again: each start takes CPU time from what is measured,
so that a command that goes on printing is the better one."""

_LONGEST_LINE = 200
_EXIT_SECONDS = 0.2  # from the last output to the end


class PowerCommand:
    """Runs the command and integrates the watts that it prints.

    It may print a number a line and go on, or print one and end: then it is started again. It runs
    without a shell; ``sh -c '...'`` brings one.
    """

    def __init__(
        self,
        command: str,
        clock: Callable[[], float],
        silence: float = SILENCE_SECONDS,
        again: float = AGAIN_SECONDS,
    ) -> None:
        """Starts it and waits for the first number.

        Args:
            command: With its arguments, quoted as in a shell.
            clock: Seconds that never run backwards.
            silence: See ``SILENCE_SECONDS``.
            again: See ``AGAIN_SECONDS``.

        Raises:
            UsageError: It cannot be started, ends without a number, or prints none in time.
        """
        self.method = f"the command `{command}`"
        self._arguments = _split(command)
        self._integral = PowerIntegral(self.method, clock)
        self._silence, self._again = silence, again
        self._first, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._first.wait(silence)
        reason = self._integral.failure
        if not reason and not self._first.is_set():
            reason = f"{self.method} printed no watts within {silence:g} s"
        if reason:
            self.close()
            raise UsageError(
                f"Energy cannot be measured: {reason}. Expected is a command that prints watts, "
                "one number a line, such as 3.87."
            )

    def read(self) -> Reading:
        """The energy since the first number.

        Raises:
            EngineError: The command failed, or has printed nothing for too long.
        """
        return self._integral.read(self._silence)

    def close(self) -> None:
        """Ends the command with all that it started."""
        with self._lock:  # so that none is started after this
            self._ended.set()
            if self._process is not None:
                _end(self._process)
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._run_once()
                self._ended.wait(self._again)
        except (OSError, ValueError) as error:
            if not self._ended.is_set():
                self._integral.fail(f"{self.method} failed: {error}")
        finally:
            self._first.set()

    def _run_once(self) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            process = self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                start_new_session=True,  # so that what it starts can be ended with it
            )
        assert process.stdout is not None
        lines = 0
        try:
            with process.stdout as stream:
                while line := stream.readline(_LONGEST_LINE):
                    self._integral.add(_watts(line))
                    lines += 1
                    self._first.set()
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)
            with self._lock:
                _end(process)
        if not self._ended.is_set() and (process.returncode != 0 or not lines):
            raise ValueError(f"it ended with status {process.returncode} after {lines} numbers")


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The command `{command}` cannot be read: {error}.") from error
    if not arguments:
        raise UsageError("The command that prints watts is empty; name one, or leave it out.")
    return arguments


def _watts(line: str) -> float:
    word, _, unit = line.strip().partition(" ")
    try:
        if unit not in {"", "W"}:
            raise ValueError(unit)
        return float(word)
    except ValueError:
        raise ValueError(f"it printed {line.strip()!r}") from None


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the command and what it started, and waits for it.

    One that has been waited for is left alone: its number may be another process's by now.
    """
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(JOIN_SECONDS)
