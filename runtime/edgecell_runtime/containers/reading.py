"""Reading files that someone else may have written, once, and no more of them than is allowed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecell_runtime.errors import FormatError, IntegrityError

CHUNK_BYTES = 1 << 20

# A pipe or a device must not make the opening wait; a child must not inherit the descriptor.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def opened(path: Path, limit: int, *, follow: bool = True) -> Iterator[tuple[int, int]]:
    """Opens a plain file for reading and checks its size before a byte is read.

    Args:
        path: The file.
        limit: The most bytes that it may have.
        follow: Whether the path may be a symbolic link.

    Yields:
        The descriptor, which is the only way to the file from here on, and the file's size.

    Raises:
        FormatError: It is no plain file, empty, or too large.
        OSError: It cannot be opened, or is a link that may not be followed.
    """
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | _NO_LINKS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError("It is a pipe, a device or a folder, and not a file.")
        if status.st_size > limit:
            raise FormatError(f"It has {status.st_size:,} bytes; at most {limit:,} are read.")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def read_whole(path: Path, limit: int) -> bytes:
    """A plain file's bytes, read once through one descriptor.

    Raises:
        FormatError: It is no plain file, empty, or too large.
        IntegrityError: It became longer or shorter while it was read.
        OSError: It cannot be read.
    """
    with opened(path, limit) as (descriptor, size):
        if size == 0:
            raise FormatError("It is empty (0 bytes).")
        # One read gives all of nearly every file, and nothing is copied then.
        parts = list(chunks(descriptor, size, size))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def chunks(descriptor: int, size: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Exactly ``size`` bytes of an opened file, piece by piece.

    Raises:
        IntegrityError: The file ends before them, or does not end behind them.
        OSError: It cannot be read.
    """
    left = size
    while left and (chunk := os.read(descriptor, min(left, chunk_bytes))):
        left -= len(chunk)
        yield chunk
    if left or os.read(descriptor, 1):
        raise IntegrityError(
            f"Its size changed while it was read (it had {size:,} bytes at first); wait until it "
            "is written, then open it again."
        )
