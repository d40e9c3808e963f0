"""A lock, so that two processes never write one file."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from edgecell import console
from edgecell_runtime.errors import StorageError
from edgecell_runtime.files import storage_errors


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds a file for this process; where the operating system has no ``fcntl``, does nothing.

    The lock is on an empty hidden file beside it, which is removed at the end. A process that is
    killed leaves that file, but not the lock.

    Raises:
        StorageError: Another process holds it, or the folder cannot be written to.
    """
    fcntl = _fcntl()
    if fcntl is None:
        yield
        return
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{target.name}.lock")
        descriptor = _open_and_lock(fcntl, path, target)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before the lock is let go of, so that it is nobody else's
        os.close(descriptor)


def _open_and_lock(fcntl: ModuleType, path: Path, target: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(
                f"{target} is being written by another edgecell; expected to be the only one. Wait "
                "for it or stop it, or name another."
            ) from error
        except OSError as error:  # some network shares have no locks
            console.warn(f"{target} cannot be locked ({error.strerror}): let nobody else write it.")
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its owner removed it between our two calls


def _fcntl() -> ModuleType | None:
    try:
        return importlib.import_module("fcntl")
    except ModuleNotFoundError:
        return None
