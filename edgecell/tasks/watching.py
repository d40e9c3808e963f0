"""The images of a folder that somebody writes to: each when it is whole.

The folder tree is listed again and again. Nothing else works everywhere: network shares, where
microscopes write to, tell nobody (by inotify and its like) what other machines change.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.tasks.answers import ImageFile
from edgecell.tasks.image_inputs import shown_name, walk_images
from edgecell_runtime.errors import DataError
from edgecell_runtime.printable import printable_name

POLL_SECONDS: Final = 0.5
_SHARE = 4
"""A listing that takes long is followed by a pause of so many times that."""


@dataclass(frozen=True)
class Clock:
    """Time, which tests make themselves.

    Attributes:
        now: Seconds since any moment.
        sleep: Waits so many seconds.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class _Sighting:
    """A file that is not done yet.

    Attributes:
        path: Where it is.
        size: In bytes, when it was last looked at.
        changed: Its modification time then, in nanoseconds.
        last_try: When it is read for the last time, having been unreadable; None before that.
    """

    path: str
    size: int
    changed: int
    last_try: float | None = None


class FolderWatch:
    """Gives the images below a folder as they become whole.

    A file is whole when its size and modification time are the same in two listings and it can be
    decoded. One that does not change and cannot be decoded is read again when it has changed, or
    after ``settle`` seconds (a copy that is held up looks the same), and is then given up. A name
    is done once: a file that is replaced after its turn is not read again, since a log names an
    image once. Zips are passed over.
    """

    def __init__(self, folder: Path, settle: float, clock: Clock | None = None) -> None:
        """Begins to watch.

        Args:
            folder: Which.
            settle: Seconds that an unreadable file is waited for.
            clock: The process's, if not given.

        Raises:
            DataError: There is no such folder.
        """
        if not folder.is_dir():
            raise DataError(f"There is no folder {folder} to watch; check the path.")
        self._folder = str(folder)
        self._settle = settle
        self._clock = clock or Clock()
        self._pending: dict[str, _Sighting] = {}
        self._given: dict[str, _Sighting] = {}
        self._done: set[str] = set()
        self._unlisted: set[str] = set()
        self._stopped = False

    def stop(self) -> None:
        """Ends ``files`` before its next image; a signal's handler may call it."""
        self._stopped = True

    def leave_out(self, names: set[str]) -> None:
        """Takes images as done."""
        self._done |= names

    def files(self) -> Iterator[ImageFile | None]:
        """Images as they become whole; None before it waits, by when all must be answered for.

        Raises:
            DataError: The folder is gone, or cannot be listed any more.
        """
        while not self._is_stopped():
            began = self._clock.now()
            ready = self._look()
            took = self._clock.now() - began
            for name in ready:
                if self._is_stopped():
                    return
                self._given[name] = self._pending.pop(name)
                yield ImageFile(name, self._given[name].path)
            yield None
            if not self._is_stopped():
                self._clock.sleep(max(POLL_SECONDS, _SHARE * took))

    def answered(self, name: str) -> None:
        """To be called when an image was read."""
        del self._given[name]
        self._done.add(name)

    def gives_up(self, name: str) -> bool:
        """To be called when an image could not be read.

        Returns:
            Whether that is final. Otherwise it is waited for, or it is gone.
        """
        sighting = self._given.pop(name)
        now = self._clock.now()
        if not os.path.lexists(sighting.path):
            return False
        if sighting.last_try is None:
            self._pending[name] = replace(sighting, last_try=now + self._settle)
            return False
        self._done.add(name)
        return True

    def _is_stopped(self) -> bool:
        return self._stopped

    def _look(self) -> list[str]:
        """Lists the folder; returns the names of the files to read."""
        pending, ready = {}, []
        for path in walk_images(self._folder, self._refuse):
            name = shown_name(path)
            if name in self._done:
                continue
            try:
                status = os.stat(path)  # noqa: PTH116 - as fast as can be: it is done all day
            except OSError:  # it is gone, or is a link that leads nowhere yet
                continue
            sighting = _Sighting(path, status.st_size, status.st_mtime_ns)
            before = self._pending.get(name)
            if before is not None and replace(before, last_try=None) == sighting:
                sighting = before
                if before.last_try is None or self._clock.now() >= before.last_try:
                    ready.append(name)
            pending[name] = sighting
        self._pending = pending
        return ready

    def _refuse(self, error: OSError) -> None:
        """A folder cannot be listed: fatal if it is the one that is watched, else said once."""
        if error.filename == self._folder:
            raise DataError(
                f"{self._folder} cannot be watched any longer: {error.strerror}. Bring the folder "
                "back, then run the command again."
            ) from error
        if not isinstance(error, FileNotFoundError) and error.filename not in self._unlisted:
            self._unlisted.add(error.filename)
            console.warn(
                f"{printable_name(error.filename)} cannot be read: {error.strerror}. Its images "
                "are waited for."
            )


@contextlib.contextmanager
def stopped_by_signals(watch: FolderWatch | None) -> Iterator[None]:
    """Ends a watch between two images at Ctrl-C and the like; a second one ends it at once."""
    if watch is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = False

    def handle(_number: int, _frame: object) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        watch.stop()

    with contextlib.ExitStack() as handlers:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                handlers.callback(signal.signal, number, signal.signal(number, handle))
        yield
