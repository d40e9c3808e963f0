"""The other end of a worker process: it is started, asked, waited for so long, and ended."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Final, Self

from edgecell_runtime import codec
from edgecell_runtime.bench.loop import Clock
from edgecell_runtime.bench.messages import Command, Opening, Reply
from edgecell_runtime.errors import EdgecellError, EngineError
from edgecell_runtime.records import dataclass

_LAST_WORDS_BYTES: Final = 4096

_CHATTER: Final = ("INFO", "WARNING", "I0000", "W0000")
"""How lines of engines begin that say how they work, and never why one ended."""

_KILLED: Final = 9
"""SIGKILL, which Windows has no name for."""


@dataclass(frozen=True)
class Launch:
    """How workers are started, and how long they may be silent.

    Attributes:
        command: The process; it speaks ``messages``.
        start_seconds: Until the first answer: libraries and large models load for minutes.
        turn_seconds: Beyond what a command takes by itself.
    """

    command: tuple[str, ...] = (sys.executable, "-m", "edgecell_runtime.bench.worker")
    start_seconds: float = 600.0
    turn_seconds: float = 120.0


class WorkerProcess:
    """A worker; a context manager, which leaves no process.

    Args:
        opening: What it measures; sent at once.
        launch: How to start it.
        clock: What ``started`` and the replies' times are taken from.

    Attributes:
        pid: Of the process.
        started: The clock before it was started.
    """

    def __init__(
        self, opening: Opening, launch: Launch, clock: Clock = time.perf_counter_ns
    ) -> None:
        self._launch = launch
        self._replies: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close
        self.started = clock()
        try:
            self._process = subprocess.Popen(
                launch.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                # Ctrl-C is for the one that asks: it ends its workers itself.
                process_group=0 if os.name == "posix" else None,
            )
        except OSError as error:
            self._errors.close()
            raise EngineError(
                f"A process could not be started for the measurement: {error}."
            ) from error
        self.pid = self._process.pid
        assert self._process.stdout is not None
        reading = (self._process.stdout, self._replies, clock)
        self._reader = threading.Thread(target=_read, args=reading, daemon=True)
        self._reader.start()
        self._send(opening)

    def ask(self, command: Command) -> Reply:
        """Has one thing done.

        Raises:
            EngineError: It failed, ended, or said nothing for too long.
        """
        self._send(command)
        return self.receive(command.seconds + self._launch.turn_seconds)[1]

    def receive(self, seconds: float | None = None) -> tuple[int, Reply]:
        """Waits for a reply.

        Args:
            seconds: For how long; None as long as a start may take.

        Returns:
            When it came, by the clock, and the reply.

        Raises:
            EngineError: As in ``ask``.
        """
        patience = self._launch.start_seconds if seconds is None else seconds
        try:
            stamp, line = self._replies.get(timeout=patience)
        except queue.Empty:
            raise EngineError(
                f"The measuring process did not answer for {patience:,.0f} s and was ended."
            ) from None
        if not line:
            raise EngineError(self._epitaph())
        try:
            reply = codec.loads(Reply, line, "reply of the measuring process")
        except EdgecellError as error:
            raise EngineError(str(error)) from error
        if reply.failed:
            raise EngineError(reply.failed)
        return stamp, reply

    def close(self) -> None:
        """Ends the process, at once if need be; a second call does nothing."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        if process.poll() is None:
            self._kill()
        process.wait()
        self._reader.join()
        if process.stdout is not None:
            process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, record: Opening | Command) -> None:
        # Where the process has ended already, ``receive`` says so.
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(codec.dumps(record).encode() + b"\n")
            self._process.stdin.flush()

    def _kill(self) -> None:
        """Ends it and what it started: it has nothing to tidy up."""
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _epitaph(self) -> str:
        status = self._process.wait()
        if -status == _KILLED:  # nothing that it wrote before can be the reason
            return (
                "The measuring process was ended from outside (SIGKILL), as systems do where "
                "memory runs out; free some, or measure fewer artifacts at once."
            )
        if status < 0:
            how = f"was ended by the signal {_signal_name(-status)}"
        else:
            how = f"ended with status {status}"
        words = self._last_words()
        return f"The measuring process {how}{f': {words}' if words else '.'}"

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS_BYTES))
        text = self._errors.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines()]
        told = [line for line in lines if line and not line.startswith(_CHATTER)]
        return told[-1] if told else ""


def _read(
    stream: IO[bytes], replies: "queue.SimpleQueue[tuple[int, bytes]]", clock: Callable[[], int]
) -> None:
    """Notes when each line came; an empty one says that there are no more."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            replies.put((clock(), line))
    replies.put((clock(), b""))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
