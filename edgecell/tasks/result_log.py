"""The log of a long ``predict``: rows that outlive the process, and are gone on with."""

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.tasks.answers import Answer, Skipped
from edgecell.tasks.file_lock import locked
from edgecell.tasks.result_rows import RowFormat
from edgecell_runtime.errors import StorageError
from edgecell_runtime.files import replacing, storage_errors

SYNC_ROWS: Final = 64
SYNC_SECONDS: Final = 1.0


class ResultLog:
    """A file of rows. Each is written at once, and is on the disk after 64 rows or a second.

    Attributes:
        images: The names that an earlier run wrote.
        labels: How often it wrote which label; None counts what it skipped.
        rows: How many there are now.
    """

    def __init__(
        self, path: Path, rows: RowFormat, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens a log and reads what stands in it; a last row that is cut off is dropped.

        Raises:
            StorageError: It cannot be read or written, or is the log of something else.
        """
        self.images: set[str] = set()
        self.labels: Counter[str | None] = Counter()
        self.rows = 0
        self._path = path
        self._rows = rows
        self._clock = clock
        self._unsynced = 0
        self._synced_at = clock()
        with storage_errors(path):
            # Without a buffer: what could not be written is not tried again when it is closed.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(path, flags, 0o666)
        try:
            self._begin(self._read_rows())
        except BaseException:
            self.close()
            raise

    def add(self, outcome: Answer | Skipped) -> None:
        """Writes a row.

        Raises:
            StorageError: It could not be written; the rows before it stand.
        """
        self._write(self._rows.row(outcome))
        self.rows += 1
        self._unsynced += 1
        if self._unsynced >= SYNC_ROWS or self._clock() - self._synced_at >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Brings all rows to the disk.

        Raises:
            StorageError: The disk refuses.
        """
        if self._unsynced:
            with self._write_errors():
                os.fsync(self._descriptor)
        self._unsynced = 0
        self._synced_at = self._clock()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_rows(self) -> int:
        """Reads the rows of an earlier run; returns where the last whole one ends."""
        end = 0
        with (
            storage_errors(self._path, "read"),
            os.fdopen(os.dup(self._descriptor), "rb") as file,
        ):
            for row in self._rows.read(file, self._path):
                self.images.add(row.image)
                self.labels[row.label] += 1
                self.rows += 1
                end = row.end
        return end

    def _begin(self, end: int) -> None:
        with self._write_errors():
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
        if not end:
            self._write(self._rows.head())

    def _write(self, data: bytes) -> None:
        with self._write_errors():
            while data:
                data = data[os.write(self._descriptor, data) :]

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._path} could not be written: {error.strerror or error}. The rows before "
                "stand; make room or mend the permissions, then go on with --resume."
            ) from error


@contextlib.contextmanager
def batch_log(target: Path, rows: RowFormat, *, resume: bool) -> Iterator[ResultLog]:
    """The log of a run that ends: ``target.part`` until it does, then in ``target``'s place.

    When the body raises, what was written stays in ``target.part``, and ``target`` as it was. A
    ``target.part`` without a row that ``target`` lacks is removed.

    Args:
        target: The file.
        rows: Its format.
        resume: Keep what stands in ``target.part``, or where there is none, in ``target``.

    Raises:
        StorageError: Another process writes it, it cannot be read or written, or it is to be gone
            on with and is the log of another artifact.
    """
    part = part_of(target)
    with locked(target):
        with storage_errors(part):
            copied = _prepare(target, part, resume=resume)
        try:
            log = ResultLog(part, rows)
        except BaseException:
            if copied:  # the target still says it all
                part.unlink(missing_ok=True)
            raise
        known = log.rows if copied else 0
        try:
            yield log
            log.sync()
        except BaseException:
            if log.rows == known:  # nobody needs a file that says nothing, or what the target says
                part.unlink(missing_ok=True)
            raise
        finally:
            log.close()
        with storage_errors(target):
            part.replace(target)
            _sync_folder(target.parent)


@contextlib.contextmanager
def endless_log(target: Path, rows: RowFormat) -> Iterator[ResultLog]:
    """The log of a run that has no end: appended to, whatever stands there.

    Raises:
        StorageError: As of ``batch_log``.
    """
    with locked(target):
        log = ResultLog(target, rows)
        try:
            yield log
            log.sync()
        finally:
            log.close()


def part_of(target: Path) -> Path:
    """Where a batch run writes."""
    return target.with_name(f"{target.name}.part")


def _prepare(target: Path, part: Path, *, resume: bool) -> bool:
    """Leaves at ``part`` what is gone on with, or nothing; returns whether it was copied there."""
    if not resume:
        if os.path.lexists(part):
            console.warn(f"{part} of an earlier run is replaced; --resume would have kept it.")
            part.unlink()
    elif not part.exists() and target.exists():
        with replacing(part) as temporary:  # a copy that is cut off would lose rows
            shutil.copyfile(target, temporary)
        return True
    return False


def _sync_folder(folder: Path) -> None:
    """Brings the new name to the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
