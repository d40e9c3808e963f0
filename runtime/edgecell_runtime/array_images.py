"""Labelled images in NumPy's ``.npz``, read without pickle.

A row is an image. Arrays that are stored uncompressed (``np.savez``) are mapped, and take no
memory; compressed ones (``np.savez_compressed``) are unpacked when the first image is read, up to
``MAX_HELD_BYTES``. Either way the zip's checksum of the array is checked first. Which arrays are
images and labels: see ``array_sets``.
"""

import math
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.array_labels import ArrayInfo, NamedArrays
from edgecell_runtime.array_sets import ArrayRows, check_values, to_pixels
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.image_sources import checked_members, open_zip
from edgecell_runtime.printable import printable_name
from edgecell_runtime.stored_images import StoredImage, stamp_of

NPZ_SUFFIX: Final = ".npz"
MAX_HELD_BYTES: Final = 2 << 30
"""The most that a compressed array may have unpacked."""

MAX_LABEL_BYTES: Final = 256 << 20

_MAX_HEADER: Final = 512
_BLOCK_BYTES: Final = 4 << 20
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayFile(NamedArrays, Protocol):
    """An open file of arrays whose rows can be read one by one."""

    def rows(self, name: str) -> NDArray[Any]:
        """An array that is indexed by row: mapped, held in memory, or read as it is indexed.

        Raises:
            DataError: It cannot be read, is damaged or is too large.
        """

    def stamp(self) -> str:
        """See ``ImageStore``."""

    def close(self) -> None:
        """Lets go of the file. May be called twice."""


class ArrayStore:
    """The images of a file of arrays; see ``ImageStore``. Arrays are opened when first read."""

    def __init__(self, file: ArrayFile, pairs: Sequence[ArrayRows]) -> None:
        """Takes the open file and its pairs of images and labels."""
        self._file = file
        self._places: dict[str, tuple[str, int]] = {}
        for pair in pairs:
            for row, name in enumerate(pair.names()):
                self._places[name] = (pair.key, row)
        self._open: dict[str, NDArray[Any]] = {}
        self._lock = threading.Lock()
        self.location = file.location

    def read(self, name: str) -> StoredImage:
        """One row as an image: uint8 (height, width, channels), 0-255; see ``ImageStore``."""
        key, row = self._places[name]
        with self._lock:
            if key not in self._open:
                self._open[key] = self._checked(key)
            rows = self._open[key]
        try:
            return to_pixels(rows[row])
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(
                f"{name} in {self.location} cannot be read: {error}. If the file is damaged, "
                "download or copy it again."
            ) from error

    def stamp(self) -> str:
        """See ``ImageStore``."""
        return self._file.stamp()

    def close(self) -> None:
        """Closes the file; nothing can be read afterwards."""
        self._open.clear()
        self._file.close()

    def _checked(self, key: str) -> NDArray[Any]:
        rows = self._file.rows(key)
        if rows.dtype != np.uint8:
            where = f"{printable_name(key)} in {self.location}"
            check_values(_blocks(rows), where)
        return rows


class NpzFile:
    """NumPy's ``.npz``: a zip of ``.npy`` files."""

    def __init__(self, location: Path) -> None:
        self._location = location
        self._archive = open_zip(location)
        try:
            assert self._archive.fp is not None
            self._status = os.fstat(self._archive.fp.fileno())
            self._members = {
                name.removesuffix(".npy"): member
                for name, member in checked_members(location, self._archive).items()
            }
            self._headers = {name: self._header(name) for name in self._members}
        except BaseException:
            self._archive.close()
            raise

    @property
    def location(self) -> Path:
        """The file."""
        return self._location

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]:
        """What it holds, by name."""
        return {name: info for name, (info, _, _) in self._headers.items()}

    def read(self, name: str) -> NDArray[Any]:
        """Reads a whole array; see ``NamedArrays``."""
        return self._unpacked(name, MAX_LABEL_BYTES)

    def rows(self, name: str) -> NDArray[Any]:
        """See ``ArrayFile``."""
        if self._members[name].compress_type == zipfile.ZIP_STORED:
            return self._mapped(name)
        return self._unpacked(name, MAX_HELD_BYTES)

    def stamp(self) -> str:
        """See ``ImageStore``."""
        return stamp_of([(str(self._location.absolute()), self._status)])

    def close(self) -> None:
        """Closes the zip."""
        self._archive.close()

    def _header(self, name: str) -> tuple[ArrayInfo, bool, int]:
        """Shape and dtype, whether columns come first, and where in the member values begin."""
        member = self._members[name]
        try:
            with self._archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                shape, by_columns, dtype = _READERS[version](file, max_header_size=_MAX_HEADER)
                start = file.tell()
        except Exception as error:  # zipfile, zlib and NumPy raise of every kind
            raise self._damaged(name, "is not an array that np.savez writes") from error
        if dtype.hasobject or dtype.itemsize == 0:
            raise DataError(
                f"{printable_name(name)} in {self._location} is of Python objects, which could run "
                "code when they are read; expected numbers or words. Save it again as such, for "
                "example labels.astype(str)."
            )
        if member.file_size - start != math.prod(shape) * dtype.itemsize:
            raise self._damaged(name, f"does not hold the {shape} values that its header says")
        return ArrayInfo(shape, dtype), by_columns, start

    def _unpacked(self, name: str, most: int) -> NDArray[Any]:
        (info, by_columns, start), member = self._headers[name], self._members[name]
        if member.file_size > most:
            raise DataError(
                f"{printable_name(name)} in {self._location} has {member.file_size:,} bytes when "
                f"unpacked; up to {most:,} are. Save images uncompressed with np.savez, as uint8: "
                "those are read without being held in memory."
            )
        values = np.empty(member.file_size - start, np.uint8)
        try:
            with self._archive.open(member) as file:
                file.read(start)
                at = 0
                while at < len(values):
                    part = file.read(min(_BLOCK_BYTES, len(values) - at))
                    values[at : at + len(part)] = np.frombuffer(part, np.uint8)
                    at += len(part) or len(values)
                file.read(1)  # the checksum is looked at behind the last byte
        except Exception as error:
            raise self._damaged(name, "cannot be unpacked") from error
        return _shaped(values.view(info.dtype), info.shape, by_columns)

    def _mapped(self, name: str) -> NDArray[Any]:
        (info, by_columns, start), member = self._headers[name], self._members[name]
        try:
            with self._location.open("rb") as file:
                file.seek(member.header_offset)
                mark, names, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                begin = member.header_offset + _LOCAL_HEADER.size + names + extra
                whole = np.memmap(file, np.uint8, "r", begin, (member.file_size,))
                file.seek(begin)
                found = _crc(file.read, member.file_size)
        except (OSError, ValueError, struct.error) as error:
            raise self._damaged(name, f"cannot be mapped ({error})") from error
        if mark != b"PK\x03\x04" or found != member.CRC:
            raise self._damaged(name, "does not have the checksum that the zip says")
        values = whole.view(np.ndarray)[start:]
        if begin % info.dtype.itemsize or start % info.dtype.itemsize:
            return _shaped(np.frombuffer(values, info.dtype), info.shape, by_columns)
        return _shaped(values.view(info.dtype), info.shape, by_columns)

    def _damaged(self, name: str, what: str) -> DataError:
        return DataError(
            f"{printable_name(name)} in {self._location} {what}; expected a file as np.savez "
            "writes it. Download or copy it again."
        )


def _shaped(values: NDArray[Any], shape: tuple[int, ...], by_columns: bool) -> NDArray[Any]:
    array = values.reshape(shape, order="F" if by_columns else "C")
    array.flags.writeable = False
    return array


def _crc(read: Callable[[int], bytes], size: int) -> int:
    found = 0
    while size > 0 and (part := read(min(size, _BLOCK_BYTES))):
        found = zlib.crc32(part, found)
        size -= len(part)
    return found


def _blocks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """All rows, some at a time."""
    step = max(1, _BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
