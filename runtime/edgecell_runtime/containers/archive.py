"""The archive behind a TFLite model, read as strictly as it is written.

A zip archive can say the same thing in several places, and readers differ in which one they
believe. The one that we write has one form: two or three stored files of known names, one behind
the other from the model's end to the directory, the directory, the end record. Everything else is
refused, so that no two readers can find different files in it; nothing is ever inflated.
"""

import struct
import zlib

from edgecell_runtime.errors import ManifestError
from edgecell_runtime.records import dataclass

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_MAX_FILES = 8
_MAX_COMMENT = (1 << 16) - 1


@dataclass(frozen=True)
class Archive:
    """Where things lie in a file with an archive at its end.

    Attributes:
        start: Where the archive begins and the model ends.
        files: First and last position of each file's content, by name.
    """

    start: int
    files: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Entry:
    """What directory and file header both say of a file: flags, method, checksum, sizes, name."""

    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    name: bytes


def read_archive(data: bytes, comment_length: int) -> Archive:
    """Reads the archive at the end of a file.

    Args:
        data: The file.
        comment_length: Of the archive's comment, which ends the file.

    Raises:
        ManifestError: There is no archive, or one that could be read in two ways.
    """
    end = len(data) - comment_length - _END.size
    if end < 0 or data[end : end + 4] != b"PK\5\6":
        raise _refusal("it does not end where the file ends")
    _, disk, first_disk, here, count, length, position, comment = _END.unpack_from(data, end)
    if (disk, first_disk, here, comment) != (0, 0, count, comment_length):
        raise _refusal("its end record says what no single archive says")
    if not 0 < count <= _MAX_FILES or position + length != end:
        raise _refusal(f"its directory is not right before its end, or has {count:,} files")
    files: dict[str, tuple[int, int]] = {}
    start = expected = None
    for _ in range(count):
        entry, header, position = _read_directory(data, position, end)
        expected = header if expected is None else expected
        start = header if start is None else start
        if header != expected:
            raise _refusal("its files overlap, or something lies between them")
        content = _read_header(data, header, entry, end)
        expected = content + entry.size
        name = entry.name.decode("latin-1")
        if name in files:
            raise _refusal(f"it holds {name!a} twice")
        files[name] = (content, expected)
    if position != end or start is None or expected != end - length:
        raise _refusal("something lies between its files and its directory")
    _refuse_another_archive(data, start)
    return Archive(start, files)


def _read_directory(data: bytes, position: int, end: int) -> tuple[_Entry, int, int]:
    """A file's entry, where its header is, and where the next entry begins."""
    if position + _CENTRAL.size > end or data[position : position + 4] != b"PK\1\2":
        raise _refusal("its directory is cut short")
    fields = _CENTRAL.unpack_from(data, position)
    _, _, _, flags, method, _, _, checksum, packed, size, length, extra, comment = fields[:13]
    disk, header = fields[13], fields[16]
    behind = position + _CENTRAL.size + length
    if (extra, comment, disk) != (0, 0, 0) or behind > end:
        raise _refusal("its directory has extra fields or comments, or is cut short")
    name = data[position + _CENTRAL.size : behind]
    if flags or method or packed != size:
        raise _refusal(f"{name.decode('latin-1')!a} is compressed or encrypted")
    return _Entry(flags, method, checksum, packed, size, name), header, behind


def _read_header(data: bytes, position: int, entry: _Entry, end: int) -> int:
    """Where a file's content begins, when its own header says what the directory says."""
    if position + _LOCAL.size > end or data[position : position + 4] != b"PK\3\4":
        raise _refusal("a file is not where its directory says")
    fields = _LOCAL.unpack_from(data, position)
    _, _, flags, method, _, _, checksum, packed, size, length, extra = fields
    begin = position + _LOCAL.size + int(length)
    name = data[position + _LOCAL.size : begin]
    if _Entry(flags, method, checksum, packed, size, name) != entry or extra:
        raise _refusal("a file's header and its directory say different things")
    content = memoryview(data)[begin : begin + size]
    if begin + size > end or zlib.crc32(content) != checksum:
        raise _refusal(f"{name.decode('latin-1')!a} is damaged")
    return begin


def _refuse_another_archive(data: bytes, start: int) -> None:
    """Refuses an archive that ends where ours begins; some readers would take its files."""
    position = data.rfind(b"PK\5\6", max(0, start - _END.size - _MAX_COMMENT), start)
    while position >= 0:
        if position + _END.size <= start:
            (comment,) = struct.unpack_from("<H", data, position + _END.size - 2)
            if position + _END.size + comment == start:
                raise _refusal("another archive ends where it begins")
        floor = max(0, start - _END.size - _MAX_COMMENT)
        position = data.rfind(b"PK\5\6", floor, position)


def _refusal(reason: str) -> ManifestError:
    return ManifestError(
        f"The appended archive is not one that `edgecell export` writes: {reason}. Export it again."
    )
