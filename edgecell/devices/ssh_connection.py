"""A connection by the system's OpenSSH: one login, many calls, and nothing that hangs.

One ``ssh -M -N`` holds the connection (ControlMaster), and each call is a session in it. It shows
signs of life (ServerAliveInterval), so that a connection that was cut ends every call within three
of them. All run in a session of their own: Ctrl-C is for this command, which still needs the
connection to tidy up.
"""

import contextlib
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Final

from edgecell.devices.address import Address
from edgecell.devices.base import DeviceError, Errand, Manners
from edgecell.devices.ssh_reasons import reason_of
from edgecell_runtime.errors import MissingPartError

_POLL_SECONDS: Final = 0.1
_STDERR_BYTES: Final = 8192
_CONNECTION_FAILED: Final = 255
"""What ``ssh`` ends with when the connection, and not the command there, failed."""

Feed = Callable[[IO[bytes], threading.Event], None]
"""Writes what a call reads from its standard input, until the event is set at the latest."""


class ConnectionLostError(DeviceError):
    """The connection broke; another one may go on where it ended."""


class SshConnection:
    """Calls commands on a host; a context manager that logs in at the first call.

    Attributes:
        was_reached: Whether a login worked at least once.
    """

    def __init__(
        self, address: Address, manners: Manners, errand: Errand, config: Path | None = None
    ) -> None:
        self._address, self._manners, self._errand = address, manners, errand
        self._folder = Path(tempfile.mkdtemp(prefix="edgecell-"))
        self._socket = self._folder / "s"  # a socket's path may have some 100 characters
        self._config = ["-F", str(config)] if config else []
        self._master: subprocess.Popen[bytes] | None = None
        self._tidying = self._abandoned = False
        self.was_reached = False

    def __enter__(self) -> "SshConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        shutil.rmtree(self._folder, ignore_errors=True)

    def abandon(self) -> None:
        """Ends the connection for good and waits for nothing; another thread may be using it."""
        self._abandoned = True
        master = self._master
        if master is not None:
            master.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def tidying(self) -> Iterator[None]:
        """In here calls go on although the user stopped the errand."""
        self._tidying = True
        try:
            yield
        finally:
            self._tidying = False

    def call(self, command: str, feed: Feed | None = None) -> Generator[bytes, None, None]:
        """Runs a command there and gives its standard output, as it comes; closed, it ends.

        Args:
            command: For the login shell there.
            feed: Writes its standard input; in a thread of its own.

        Raises:
            ConnectionLostError: There is no connection, or it broke.
            DeviceError: There is none, and trying again cannot help.
            StoppedError: The user stopped the errand.
        """
        self._connect()
        with self._start(["-S", str(self._socket), "-o", "ControlMaster=no"], command) as process:
            call = _Call(process, feed)
            try:
                while (chunk := call.next_chunk()) is not None:
                    self._check_wanted()
                    if chunk:
                        yield chunk
                status = process.wait()
            finally:
                call.end()
        if call.failure is not None:
            raise call.failure
        if status == _CONNECTION_FAILED:
            self._hang_up()
            raise ConnectionLostError(reason_of(self._address, call.stderr).words)

    def _connect(self) -> None:
        """Logs in, where that is not done already."""
        self._check_wanted()
        if self._master is not None and self._master.poll() is None:
            return
        self._hang_up()
        log = self._folder / "log"
        with log.open("wb") as stderr:
            self._master = self._start(["-M", "-N", "-S", str(self._socket)], "", stderr)
        deadline = time.monotonic() + 3 * self._manners.connect_seconds
        while not self._socket.exists():
            self._check_wanted()
            if self._master.poll() is not None or time.monotonic() > deadline:
                self._hang_up()
                text = log.read_text(encoding="utf-8", errors="replace")
                reason = reason_of(self._address, text or "timed out")
                raise (DeviceError if reason.final else ConnectionLostError)(reason.words)
            time.sleep(_POLL_SECONDS / 2)
        self.was_reached = True

    def _start(
        self, options: list[str], command: str, stderr: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        manners = self._manners
        settings = {
            "BatchMode": "yes",  # no question is asked: nobody may be there to answer it
            "ConnectTimeout": manners.connect_seconds,
            "ServerAliveInterval": manners.alive_seconds,
            "ServerAliveCountMax": 3,
            "ControlPersist": "no",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "LogLevel": "ERROR",
        }
        address = self._address
        arguments = ["ssh", *self._config, *options]
        for key, value in settings.items():
            arguments += ["-o", f"{key}={value}"]
        arguments += ["-p", str(address.port)] if address.port else []
        arguments += ["-l", address.user] if address.user else []
        arguments += ["--", address.host, *([command] if command else [])]
        quiet = subprocess.DEVNULL if stderr is not None else subprocess.PIPE
        try:
            return subprocess.Popen(
                arguments,
                stdin=quiet,
                stdout=quiet,
                stderr=stderr or subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise MissingPartError(
                f"ssh could not be started: {error.strerror}. Install OpenSSH's client, such as: "
                "apt-get install openssh-client"
            ) from error

    def _hang_up(self) -> None:
        if self._master is not None:
            _end(self._master)
            self._master = None
        self._socket.unlink(missing_ok=True)

    def _check_wanted(self) -> None:
        if not self._tidying or self._abandoned:
            self._errand.check_wanted()


class _Call:
    """The pipes of a running call, each served by a thread."""

    def __init__(self, process: subprocess.Popen[bytes], feed: Feed | None) -> None:
        self._process = process
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=64)
        self._stderr = b""
        self._ended = threading.Event()
        self.failure: Exception | None = None
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in (
                (self._read_stdout, ()),
                (self._read_stderr, ()),
                (self._write_stdin, (feed,)),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def stderr(self) -> str:
        """The last of what came on standard error."""
        return self._stderr.decode("utf-8", "replace")

    def next_chunk(self) -> bytes | None:
        """What came next; nothing where nothing came for a moment, None at the end."""
        try:
            return self._chunks.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return b""

    def end(self) -> None:
        """Ends the call where it still runs, and its threads."""
        self._ended.set()
        _end(self._process)
        for thread in self._threads:
            thread.join(timeout=5)

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            self._put(chunk)
        self._put(None)

    def _put(self, chunk: bytes | None) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                self._chunks.put(chunk, timeout=_POLL_SECONDS)
                return

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := self._process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
            self._stderr = (self._stderr + chunk)[-_STDERR_BYTES:]

    def _write_stdin(self, feed: Feed | None) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            if feed is not None:
                feed(stdin, self._ended)
        except (BrokenPipeError, ValueError):
            pass  # the other side ended; its status says why
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            self.failure = error
        finally:
            with contextlib.suppress(OSError, ValueError):
                stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
