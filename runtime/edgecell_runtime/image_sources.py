"""The files of a folder or of a zip, read alike: names with forward slashes, bytes on demand.

A zip is never unpacked, and one that could harm somebody who unpacks it is refused as a whole.
"""

import os
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.images import MAX_FILE_BYTES, read_image_file
from edgecell_runtime.printable import printable_name
from edgecell_runtime.stored_images import stamp_of

MAX_MEMBERS: Final = 2_000_000
"""Files and folders that a zip may have."""

_DRIVE = re.compile(r"[A-Za-z]:")
# Their decompressor stops where it is told; those of bzip2 and LZMA do not.
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED_FLAG = 0x1
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


class ImageFiles(Protocol):
    """Files that can be listed and read; ``read`` may be called from several threads."""

    @property
    def location(self) -> Path:
        """The folder or the zip."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every file's path below the location, with forward slashes, sorted."""

    def read(self, name: str) -> bytes:
        """Reads one of the files whole.

        Raises:
            ImageError: It cannot be read, is damaged or is too large.
        """

    def stamp(self) -> str:
        """See ``ImageStore``."""

    def close(self) -> None:
        """Lets go of what is open. May be called twice."""


def open_image_files(path: Path) -> ImageFiles:
    """Opens a folder or a zip.

    Raises:
        DataError: There is no such path, it is neither, or it is damaged or refused.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(
            f"There is no {path}; expected a folder of class folders or a zip of one. "
            "Check the path."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be opened: {error}. Check its permissions.") from error
    if stat.S_ISDIR(mode):
        return FolderFiles(path)
    if stat.S_ISREG(mode):
        return ZipFiles(path)
    raise _neither(path)


class FolderFiles:
    """The files below a folder; links to files and folders are followed.

    Bytes of file names that are not UTF-8 are written as ``printable_name`` writes them.
    """

    def __init__(self, location: Path) -> None:
        self.location = location
        self._paths: dict[str, Path] = {}
        try:
            for relative, path in _walk(str(location)):
                name = printable_name(relative)
                if name in self._paths:
                    raise DataError(
                        f"{location} holds two files that are both written {name}; "
                        "expected names that differ when printed. Rename one."
                    )
                self._paths[name] = Path(path)
        except OSError as error:
            raise DataError(
                f"{location} cannot be listed: {error}. Check the permissions of its folders."
            ) from error
        self.names = tuple(sorted(self._paths))

    def read(self, name: str) -> bytes:
        """Reads one of the files whole; see ``ImageFiles``."""
        return read_image_file(self._paths[name])

    def stamp(self) -> str:
        """See ``ImageStore``."""
        try:
            return stamp_of((name, _status(self._paths[name])) for name in self.names)
        except OSError as error:
            raise DataError(
                f"{self.location} changes while it is read: {error}. Wait until it is complete."
            ) from error

    def close(self) -> None:
        """Does nothing: no file stays open."""


class ZipFiles:
    """The files of a zip, read in place."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self._lock = threading.Lock()
        self._archive = open_zip(location)
        try:
            self._members = checked_members(location, self._archive)
        except BaseException:
            self._archive.close()
            raise
        self.names = tuple(sorted(self._members))

    def read(self, name: str) -> bytes:
        """Reads one of the files whole; see ``ImageFiles``."""
        member = self._members[name]
        if member.file_size > MAX_FILE_BYTES:
            raise ImageError(
                f"{name} in {self.location} has {member.file_size:,} bytes; image files are read "
                f"up to {MAX_FILE_BYTES:,}."
            )
        try:
            # Never more than was declared, whatever the compressed bytes would grow to; and at
            # least one byte, because reading none would not check the checksum.
            with self._lock, self._archive.open(member) as file:
                data = file.read(max(member.file_size, 1))
        except Exception as error:  # zipfile and zlib raise of every kind on damaged bytes
            raise ImageError(
                f"{name} in {self.location} cannot be read: {error or type(error).__name__}. "
                "If the zip is damaged, download or copy it again."
            ) from error
        if len(data) != member.file_size:
            raise ImageError(
                f"{name} in {self.location} ends after {len(data):,} of {member.file_size:,} "
                "bytes; download or copy the zip again."
            )
        return data

    def stamp(self) -> str:
        """See ``ImageStore``."""
        assert self._archive.fp is not None
        status = os.fstat(self._archive.fp.fileno())
        return stamp_of([(str(self.location.absolute()), status)])

    def close(self) -> None:
        """Closes the zip; nothing can be read afterwards."""
        with self._lock:
            self._archive.close()


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError:  # a link that leads nowhere has a status too
        return path.lstat()


def _walk(top: str) -> Iterator[tuple[str, str]]:
    """Finds the regular files below ``top``, and links that lead nowhere (reading says so).

    Yields:
        The path below ``top`` with forward slashes, and the whole path.
    """
    # With each folder go the identities of those above it, so that a link cannot lead in circles.
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [("", top, frozenset())]
    while pending:
        prefix, folder, above = pending.pop()
        status = os.stat(folder)  # noqa: PTH116 - strings: a Path costs more than the look-up
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise DataError(
                f"{printable_name(folder)} is a link to a folder that holds it; expected folders "
                "without circles. Remove the link."
            )
        with os.scandir(folder) as entries:
            for entry in entries:
                relative = f"{prefix}{entry.name}"
                if entry.is_dir():
                    pending.append((f"{relative}/", entry.path, above | {identity}))
                elif entry.is_file() or not os.path.exists(entry.path):  # noqa: PTH110
                    yield relative, entry.path


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip.

    Raises:
        DataError: It cannot be read, is damaged or is none.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Check its permissions.") from error
    if start == b"\x89HDF":
        raise DataError(
            f"{path} is an HDF5 file, which the runtime does not read (training does); expected a "
            "folder or a zip of class folders, or an .npz. Save it as one of these."
        )
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # besides BadZipFile, whatever a damaged directory leads to
        if isinstance(error, zipfile.BadZipFile) and start not in _ZIP_STARTS:
            raise _neither(path) from error
        raise DataError(
            f"{path} is a damaged or truncated zip ({error}); expected a whole one. "
            "Download or copy it again."
        ) from error


def _neither(path: Path) -> DataError:
    return DataError(
        f"{path} is neither a folder nor a zip of class folders, such as Parasitized/ and "
        "Uninfected/, nor a whole .npz or HDF5 file; expected one of these. Check the path and the "
        "file."
    )


def checked_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of a zip by their names.

    Raises:
        DataError: One of them could harm somebody who unpacks it.
    """
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise DataError(
            f"{path} has {len(entries):,} members; at most {MAX_MEMBERS:,} are opened. "
            "Split the set."
        )
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        fault = _fault(entry)
        if fault is not None:
            raise DataError(
                f"{path} is refused: its member {entry.orig_filename!r} {fault}. Get the set from "
                "where it was published, or pack the folder again, for example with `zip -r`."
            )
        if entry.is_dir():
            continue
        name = entry.filename
        if "//" in name or "./" in name or name.endswith("/."):
            name = "/".join(part for part in name.split("/") if part not in ("", "."))
        if name in members:
            raise DataError(
                f"{path} is refused: it has two members named {name!r}; expected each name once. "
                "Pack the folder again."
            )
        members[name] = entry
    return members


def _fault(entry: zipfile.ZipInfo) -> str | None:
    """Says why a member is refused, as the end of a sentence."""
    # zipfile may shorten or replace the name that stands in the file, so that both are looked at.
    for name in {entry.orig_filename, entry.filename}:
        plain = name.isascii() and name.isprintable()  # nearly all are, and it is quickly told
        if "\\" in name or (not plain and printable_name(name) != name):
            return (
                "has a backslash, a zero byte or a control character in its name; expected forward "
                "slashes and what can be printed"
            )
        if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
            return "would be written outside the folder that it is unpacked into"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file; expected plain files and folders"
    if entry.flag_bits & _ENCRYPTED_FLAG:
        return "is encrypted; expected a zip without a password"
    if entry.compress_type not in _COMPRESSIONS:
        return "is compressed by an unusual method; expected stored or deflated"
    return None
