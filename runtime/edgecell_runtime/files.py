"""Writing files so that nobody ever sees half of one."""

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from edgecell_runtime.errors import StorageError


@contextlib.contextmanager
def storage_errors(path: Path, action: Literal["written", "read"] = "written") -> Iterator[None]:
    """Turns the operating system's errors about ``path`` into sentences.

    What they leave is the caller's to say: a file that was replaced is as it was, a log has rows.

    Args:
        path: The file or folder.
        action: What could not be done with it.

    Raises:
        StorageError: No space, no permission, or another ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        causes = "the free space and the permissions" if action == "written" else "its permissions"
        raise StorageError(
            f"{path} could not be {action}: {reason}. Check {causes}, then run the command again."
        ) from error


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made or written to, before the slow part; makes nothing.

    Raises:
        StorageError: Something that is no folder is in the way, or the permission is missing.
    """
    above = folder.absolute()
    with storage_errors(folder):
        while not os.path.lexists(above):
            above = above.parent
        if not above.is_dir():
            raise StorageError(
                f"{folder} cannot be written to: {above} is no folder. Choose another place."
            )
        if not os.access(above, os.W_OK | os.X_OK):
            raise StorageError(
                f"{folder} cannot be written to: there is no permission to write in {above}. "
                "Change it, or choose another place."
            )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a temporary path in ``target``'s folder, and puts it in ``target``'s place at the end.

    The body may write a file or make a folder there. When the body raises, Ctrl-C included, the
    temporary path is removed and ``target`` stays as it was. A file never takes a folder's place:
    all that lies in the folder would be lost.

    Raises:
        StorageError: Writing or replacing failed, or a folder has a file's name.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        temporary = holder / target.name
        with storage_errors(target):
            yield temporary
            if target.is_dir() and not target.is_symlink():
                if temporary.is_file():
                    raise StorageError(
                        f"{target} is a folder; expected a file, or nothing yet. It was left as it "
                        "is: move it away or choose another name."
                    )
                _replace_folder(target, temporary, holder / f"{target.name}.replaced")
            else:
                temporary.replace(target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextlib.contextmanager
def adding(candidates: Iterable[Path], tell: Callable[[Path], None]) -> Iterator[Path]:
    """Gives a temporary path, and puts the folder made there in the first place that is free.

    It never replaces anything, whoever else adds to the same parent. When the body raises, Ctrl-C
    included, nothing is left.

    Args:
        candidates: In one parent; they do not run out.
        tell: Told of each place right before it is tried.

    Raises:
        StorageError: Writing failed.
    """
    places = iter(candidates)
    first = next(places)
    with storage_errors(first):
        first.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{first.name}.", dir=first.parent))
    try:
        temporary = holder / first.name
        with storage_errors(first):
            yield temporary
        for place in itertools.chain([first], places):
            tell(place)
            with storage_errors(place):
                if _added(temporary, place):
                    break
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _added(temporary: Path, place: Path) -> bool:
    """Renames a folder, unless there is something in its place."""
    if os.path.lexists(place):
        return False
    try:
        temporary.rename(place)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # somebody was quicker
            return False
        raise
    return True


def _replace_folder(target: Path, temporary: Path, aside: Path) -> None:
    """Replaces a folder in two steps, the least there are: the old one steps aside first."""
    try:
        target.rename(aside)
        temporary.replace(target)
    except BaseException:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise


def write_bytes(target: Path, data: bytes) -> None:
    """Writes a whole file, or leaves what was there.

    Raises:
        StorageError: It could not be written.
    """
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Writes a whole text file, UTF-8, or leaves what was there.

    Raises:
        StorageError: It could not be written.
    """
    write_bytes(target, text.encode())
