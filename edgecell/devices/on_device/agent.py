"""What edgecell sends to a device first, and what looks after a benchmark there.

It runs before anything is installed: standard library only, Python 3.11. ``begin`` makes a private
folder (mode 700) and starts ``guard``, a process of its own session that outlives the connection.
It comes through standard input, as does ``finish``, which works where the folder was removed. The
other commands are calls of the workstation; each answers with a line ``MARK``, since a login
shell may print before it, then JSON.

A lost connection loses nothing: ``work.py`` writes its events to the file ``log``, and ``follow``
begins where the last one ended. A workstation that never comes back leaves nothing: it touches
``lease`` while it is there, and when that has not happened for long, ``guard`` ends the work and
removes the folder.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

MARK = "edgecell-answers"
OWNER = "EDGECELL_WORKSPACE"  # in the environment of guard, work and all that they start
POLL_SECONDS = 1.0  # rare enough to leave the measurement alone
SILENCE_SECONDS = 60.0
FULL_BYTES = 1 << 20


class RefusedError(Exception):
    """Something that the workstation has a sentence for, by its kind."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind, self.words = kind, words


def answer(**values: str | int | bool) -> None:
    """Writes what a call answers."""
    sys.stdout.write(f"\n{MARK}\n{json.dumps(values)}\n")
    sys.stdout.flush()


def begin(parent: str, name: str, lease_seconds: str, keep: str, source: str) -> None:
    """Makes the folder and starts the guard; called again, it finds what is there."""
    folder = place_of(parent) / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "agent.py").write_text(source, encoding="utf-8")
        for file in ("lease", "guard.lock"):
            (folder / file).touch()
        for inner in ("tmp", "cache", "out"):
            (folder / inner).mkdir(exist_ok=True)
        if not is_held(folder / "guard.lock"):
            start_guard(folder, lease_seconds, keep)
    except (OSError, RefusedError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    answer(
        folder=str(folder),
        python=sys.executable,
        version=platform.python_version(),
        machine=machine(),
        libc="glibc" if platform.libc_ver()[0] == "glibc" else "musl",
    )


def place_of(parent: str) -> Path:
    """The folder that the private folder comes into."""
    try:
        place = Path(parent).expanduser().absolute()
    except RuntimeError:  # there is no such user
        raise RefusedError("no_folder", parent) from None
    if not place.is_dir():
        raise RefusedError("no_folder", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise RefusedError("no_permission", str(place))
    return place


def machine() -> str:
    """As wheels name it: a 32-bit system may run on a 64-bit kernel."""
    name = platform.machine()
    narrow = {"aarch64": "armv7l", "x86_64": "i686"}
    return name if sys.maxsize > 2**32 else narrow.get(name, name)


def start_detached(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts one of the programs in a session of its own, with nothing of the connection."""
    return subprocess.Popen(
        [sys.executable, str(folder / arguments[0]), *arguments[1:], str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={**os.environ, OWNER: str(folder)},
    )


def start_guard(folder: Path, lease_seconds: str, keep: str) -> None:
    """Starts the guard and waits until it is there."""
    start_detached(["agent.py", "guard", lease_seconds, keep], folder)
    for _ in range(200):
        if is_held(folder / "guard.lock") and (folder / "guard.lock").stat().st_size:
            return
        time.sleep(0.05)
    raise RefusedError("failed", "what looks after the work did not start within 10 seconds")


def guard(lease_seconds: str, keep: str, place: str) -> None:
    """Starts the work when told; ends it and tidies up when nobody has asked for too long."""
    folder = Path(place)
    lock = (folder / "guard.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # there is one
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    child, touched, seen = None, 0, time.monotonic()
    try:
        while time.monotonic() - seen < float(lease_seconds):
            stamp = (folder / "lease").stat().st_mtime_ns
            if stamp != touched:  # by change: a device without a battery sets its clock late
                touched, seen = stamp, time.monotonic()
            if child is None and (folder / "go").exists():
                child = start_detached(["work.py"], folder)
            if child is not None and child.poll() is not None:
                (folder / "go").unlink(missing_ok=True)  # says that it ended, and needs no space
            time.sleep(POLL_SECONDS / 4 if child is None else POLL_SECONDS)
        end_work(folder, child)
        if keep == "remove":
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        end_work(folder, child)


def end_work(folder: Path, child: subprocess.Popen[bytes] | None = None) -> None:
    """Kills whatever else carries the folder's name in its environment, however it was started."""
    if child is not None and child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    wanted = f"{OWNER}={folder}".encode()
    for _ in range(20):
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if int(entry.name) == os.getpid():
                    continue  # the guard
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
            except OSError:
                continue  # it ended, or it is another user's
        if not found:
            return
        time.sleep(0.05)


def is_held(path: Path) -> bool:
    """Whether a process that lives holds the lock; its number may be another one's by now."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Heard(io.RawIOBase):
    """Standard input, where each byte that comes says that the workstation is there."""

    def __init__(self, folder: Path) -> None:
        self.lease = folder / "lease"

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = sys.stdin.buffer.read(size)
        os.utime(self.lease)
        return data


def receive(size: str, place: str) -> None:
    """Unpacks a tar archive from standard input; one that was cut off is sent again as a whole."""
    folder = Path(place)
    free = shutil.disk_usage(folder).free
    if free < int(size):
        words = f"{int(size) / 1e6:.1f} MB to copy, {free / 1e6:.1f} MB free"
        raise RefusedError("disk_full", words)
    with tarfile.open(fileobj=Heard(folder), mode="r|") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        for member in archive:
            archive.extract(member, folder, set_attrs=False)
    answer(received=True)


def go(place: str) -> None:
    """Tells the guard to start the work, once."""
    folder = Path(place)
    if not (folder / "log").exists():
        (folder / "go").touch()
    answer(going=True)


def follow(offset: str, place: str) -> None:
    """Prints the events from a byte of the log on, until the work ended or nobody listens."""
    folder, position, heard = Path(place), int(offset), time.monotonic()
    answer(following=True)
    while time.monotonic() - heard < SILENCE_SECONDS:
        over = not (folder / "go").exists() or not is_held(folder / "guard.lock")
        lines, position = new_lines(folder / "log", position)
        if over and not lines:
            free = shutil.disk_usage(folder).free
            kind = "disk_full" if free < FULL_BYTES else "vanished"
            lines = json.dumps({"end": kind, "words": f"{free / 1e6:.1f} MB free"}) + "\n"
        sys.stdout.write(lines)
        sys.stdout.flush()
        if any("end" in json.loads(line) for line in lines.splitlines()):
            return
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
            if not os.read(0, 1024):
                return
            heard = time.monotonic()
            os.utime(folder / "lease")


def new_lines(log: Path, position: int) -> tuple[str, int]:
    """Whole lines from a byte on, and the byte after them."""
    if not log.exists():
        return "", position
    with log.open("rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(), position + len(whole)


def fetch(name: str, place: str) -> None:
    """Prints a file of the results, after its size and hash."""
    data = (Path(place) / "out" / Path(name).name).read_bytes()
    os.utime(Path(place) / "lease")
    answer(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def finish(keep: str, place: str) -> None:
    """Ends guard and work, and removes the folder; it needs no space, nor that folder."""
    folder = Path(place)
    lock = folder / "guard.lock"
    if is_held(lock):
        os.kill(int(lock.read_text(encoding="ascii")), signal.SIGTERM)
        for _ in range(200):
            if not is_held(lock):
                break
            time.sleep(0.05)
    end_work(folder)
    if keep == "remove":
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)  # a file may have come while it was removed
    answer(left=folder.exists())


COMMANDS: dict[str, Callable[..., None]] = {
    "begin": begin,
    "guard": guard,
    "receive": receive,
    "go": go,
    "follow": follow,
    "fetch": fetch,
    "finish": finish,
}


def main(command: str, *arguments: str) -> None:
    """Runs a command; whatever fails is answered, with its kind."""
    try:
        COMMANDS[command](*arguments)
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
    except RefusedError as error:
        answer(error=error.kind, words=error.words)
    except FileNotFoundError as error:
        answer(error="gone", words=str(error.filename))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer(error="disk_full" if full else "failed", words=str(error))
    except tarfile.TarError as error:
        answer(error="failed", words=str(error))


if __name__ == "__main__":
    if sys.argv[1] == "begin":
        main(*sys.argv[1:], globals()["SOURCE"])  # as it came through standard input
    else:
        main(*sys.argv[1:])
