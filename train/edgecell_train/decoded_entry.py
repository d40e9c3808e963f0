"""One set's decoded images on disk: a folder of three files.

1. ``pixels.npy``: uint8 (n, height, width, channels), the preprocessed images.
2. ``images.txt``: a line ``sha256  name`` for each of them, of the original image.
3. ``entry.txt``: what the other two have to be, and which images were left out; behind it a line
   with its SHA-256.

CRC-32 finds damage of the pixels, several times faster than SHA-256 on most machines; only the user
writes there, so that forgery is no concern. Names and hashes are held by SHA-256.
"""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import codec

BLOCK_BYTES: Final = 4 << 20
"""Pixels are read and written so many bytes at a time."""

PIXELS: Final = "pixels.npy"

_IMAGES: Final = "images.txt"
_ENTRY: Final = "entry.txt"


@dataclass(frozen=True)
class CachedImages:
    """What was kept of a set.

    Attributes:
        pixels: Path of the pixels.
        offset: Where in the file they begin, in bytes.
        shape: (n, height, width, channels).
        names: Of the images, in the order of the rows.
        sha256: Of the original images.
        unreadable: Name and reason of every image that was left out.
    """

    pixels: Path
    offset: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    sha256: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    def mapped(self) -> NDArray[np.uint8]:
        """The pixels as a read-only ``np.memmap``."""
        return np.memmap(self.pixels, np.uint8, "r", self.offset, self.shape)


@dataclass(frozen=True)
class _Entry:
    """What ``entry.txt`` says.

    Attributes:
        shape: Of the pixels.
        crc32: Of all bytes of ``pixels.npy`` behind its header.
        images_sha256: Of ``images.txt``.
        unreadable: Name and reason of every image that was left out.
        version: Of this form.
    """

    shape: tuple[int, ...]
    crc32: int
    images_sha256: str
    unreadable: tuple[tuple[str, str], ...]
    version: Literal[1] = 1


class EntryWriter:
    """Writes the pixels of an entry row by row, in their order.

    Attributes:
        finished: Whether all of it is written.
    """

    def __init__(self, folder: Path, file: IO[bytes], shape: tuple[int, ...]) -> None:
        self._folder, self._file, self._shape = folder, file, shape
        self._crc = 0
        self.finished = False
        self._write_header(shape)

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Writes rows, uint8 (k, height, width, channels).

        Raises:
            OSError: There is no space.
        """
        data = np.ascontiguousarray(rows).data.cast("B") if rows.size else b""
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)

    def finish(
        self, names: list[str], sha256: list[str], unreadable: list[tuple[str, str]]
    ) -> None:
        """Writes what belongs to the rows.

        Raises:
            OSError: There is no space.
        """
        shape = (len(names), *self._shape[1:])
        self._write_header(shape)
        self._file.flush()
        lines = "".join(f"{of}  {name}\n" for of, name in zip(sha256, names, strict=True)).encode()
        (self._folder / _IMAGES).write_bytes(lines)
        digest = hashlib.sha256(lines).hexdigest()
        entry = _Entry(shape, self._crc, digest, tuple(unreadable))
        (self._folder / _ENTRY).write_bytes(_sealed(codec.dumps(entry).encode()))
        self.finished = True

    def _write_header(self, shape: tuple[int, ...]) -> None:
        """NumPy leaves room in it for the number of rows to change."""
        self._file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def _sealed(document: bytes) -> bytes:
    return document + b"\n" + hashlib.sha256(document).hexdigest().encode()


def open_entry(folder: Path) -> CachedImages:
    """Opens an entry and checks every byte of it.

    Args:
        folder: Of the entry.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: It is not what was written.
        ManifestError: Its description is not what was written.
    """
    text = (folder / _ENTRY).read_bytes()
    document = text.rpartition(b"\n")[0]
    if text != _sealed(document):
        raise ValueError("the description is not the one that was written")
    entry = codec.loads(_Entry, document, "entry")
    lines = (folder / _IMAGES).read_bytes()
    if hashlib.sha256(lines).hexdigest() != entry.images_sha256:
        raise ValueError("the names are not those that were written")
    pairs = [line.split("  ", 1) for line in lines.decode().split("\n")[:-1]]
    with (folder / PIXELS).open("rb", buffering=0) as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
        right = shape == entry.shape and dtype == np.uint8 and len(pairs) == shape[0]
        if not right or _crc32(file) != entry.crc32:
            raise ValueError("the pixels are not those that were written")
    names, hashes = tuple(pair[1] for pair in pairs), tuple(pair[0] for pair in pairs)
    return CachedImages(folder / PIXELS, offset, shape, names, hashes, entry.unreadable)


def _crc32(file: IO[bytes]) -> int:
    """Of all that follows, without holding more than a block of it."""
    found, block = 0, bytearray(BLOCK_BYTES)
    view = memoryview(block)
    while count := file.readinto(block):  # type: ignore[attr-defined]
        found = zlib.crc32(view[:count], found)
    return found
