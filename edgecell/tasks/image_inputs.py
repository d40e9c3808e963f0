"""Which images ``predict`` was given: files, folders, patterns, zips and lists of paths."""

import functools
import glob
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgecell.tasks.answers import ImageFile, LateFile
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.image_sources import open_image_files
from edgecell_runtime.images import SUFFIXES
from edgecell_runtime.printable import printable_name

STANDARD_INPUT: Final = "-"
_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 16
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_LIKE_AN_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")


@dataclass(frozen=True)
class Inputs:
    """The images that were named.

    Attributes:
        total: How many, doubles included; None where standard input will say.
        widest: Characters of the longest name that is known yet.
        files: One after another; None where the next may be long in coming.
        names: Gives what they are called, once more; nothing of what standard input names.
    """

    total: int | None
    widest: int
    files: Iterator[ImageFile | None]
    names: Callable[[], Iterator[str]]


@dataclass(frozen=True)
class _Place:
    kind: Literal["file", "folder", "zip", "lines"]
    path: str
    end: bytes = b"\n"


@dataclass(frozen=True)
class _Unreadable:
    """An input that gives no image, only the reason for it."""

    reason: str

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - nothing is read
        raise ImageError(self.reason)


def open_inputs(given: Sequence[str], *, null: bool = False) -> Inputs:
    """Finds the images of the command line's arguments.

    - A file is taken whatever it is called; one that is a zip stands for the images in it.
    - A folder or a zip stands for the images below it, by name; what is hidden or has no image's
      suffix is passed over.
    - A pattern (``'cells/**/*.png'``) that no file has as its name stands for the images, zips and
      folders that it matches; one with ``**`` for images and zips only, since it matches what is in
      the folders too.
    - ``-`` stands for the paths, one a line, on standard input; they may be files, folders or zips.

    Nothing is read of the images themselves, and of standard input nothing until its turn comes.
    A folder below the one that is named and cannot be listed (no permission, a path longer than the
    system takes) counts as one image that cannot be read.

    Args:
        given: The arguments.
        null: Whether a path on standard input ends in a zero byte, and not with its line.

    Raises:
        DataError: A folder or zip cannot be listed or holds no image, or a pattern matches none.
    """
    places = [place for argument in given for place in _places(argument, b"\0" if null else b"\n")]
    total, widest = 0, 0
    for place in places:
        if place.kind == "lines":
            continue
        count = 0
        for file in _files(place):
            count += 1
            widest = max(widest, len(file.name))
        if not count:
            raise DataError(
                f"{printable_name(place.path)} holds no images; expected files that end in one of "
                f"{', '.join(sorted(SUFFIXES))}. Check the path."
            )
        total += count
    known = all(place.kind != "lines" for place in places)
    listed = [place for place in places if place.kind != "lines"]
    names = functools.partial(_names, listed)
    return Inputs(total if known else None, widest, _all_files(places), names)


def walk_images(folder: str, refuse: Callable[[OSError], None]) -> Iterator[str]:
    """Finds the images below a folder, by name; links to folders are not followed.

    Args:
        folder: As ``Path`` writes it.
        refuse: Called where a folder cannot be listed; if it returns, that folder is passed over.
    """
    pending = [_listed(folder, refuse)]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.name.startswith("."):
            continue
        elif entry.is_dir(follow_symlinks=False):
            pending.append(_listed(entry.path, refuse))
        elif _is_image(entry):
            yield entry.path.removeprefix("./") if folder == "." else entry.path


def _places(argument: str, end: bytes) -> list[_Place]:
    if argument == STANDARD_INPUT:
        return [_Place("lines", argument, end)]
    if glob.has_magic(argument) and not os.path.lexists(argument):
        return _matches(argument)
    return [_place(argument)]


def _place(path: str) -> _Place:
    written = str(Path(path))
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path's, it takes whatever a line may hold
        return _Place("folder", written)
    return _Place("zip" if _is_zip(written) else "file", written)


def _matches(pattern: str) -> list[_Place]:
    found = [_place(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    folders = () if "**" in pattern else ("folder",)
    kept = [
        place
        for place in found
        if place.kind in ("zip", *folders)
        or (place.kind == "file" and Path(place.path).suffix.lower() in SUFFIXES)
    ]
    if not kept:
        raise DataError(
            f"{printable_name(pattern)} matches no images; expected files that end in one of "
            f"{', '.join(sorted(SUFFIXES))}, zips or folders of them. Check the pattern."
        )
    return kept


def _all_files(places: Sequence[_Place]) -> Iterator[ImageFile | None]:
    for place in places:
        if place.kind == "lines":
            descriptor = 0 if sys.stdin is None else sys.stdin.fileno()
            yield from _files_of_lines(descriptor, place.end)
        else:
            yield from _files(place)


def _names(places: Sequence[_Place]) -> Iterator[str]:
    for place in places:
        for file in _files(place):
            yield file.name


def _files(place: _Place) -> Iterator[ImageFile]:
    if place.kind == "zip":
        yield from _members(place.path)
    elif place.kind == "folder":
        yield from _below(place.path)
    else:
        yield ImageFile(shown_name(place.path), place.path)


def _below(folder: str) -> Iterator[ImageFile]:
    refused: list[OSError] = []
    for path in walk_images(folder, refused.append):
        yield from _unlisted(folder, refused)
        yield ImageFile(shown_name(path), path)
    yield from _unlisted(folder, refused)


def _unlisted(top: str, refused: list[OSError]) -> Iterator[ImageFile]:
    """An unreadable image for each folder that could not be listed; refuses the topmost."""
    while refused:
        error = refused.pop(0)
        if error.filename == top:
            raise DataError(
                f"{printable_name(top)} cannot be read: {error.strerror}. Check its permissions."
            ) from error
        name = shown_name(error.filename)
        reason = f"{name} cannot be read: {error.strerror}. What is in this folder was left out."
        yield ImageFile(name, _Unreadable(reason))


def _members(path: str) -> Iterator[ImageFile]:
    try:
        archive = open_image_files(Path(path))
    except DataError as error:
        raise DataError(printable_name(str(error))) from error
    for name in archive.names:
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and _has_suffix(name):
            # The zip is closed when the last of its members is let go of: a thousand zips on the
            # command line would be more open files than a process may have.
            member = LateFile(functools.partial(archive.read, name))
            yield ImageFile(shown_name(f"{path}/{name}"), member)


def shown_name(path: str) -> str:
    """The path as it is printed: two paths never look alike, since doubles are told by it.

    What ``printable_name`` leaves ambiguous is a backslash; it is doubled beside an escape. It
    depends on nothing but the path, so that ``--resume`` finds it again. On Windows a backslash
    separates folders and stays single.
    """
    shown = printable_name(path)
    if os.sep == "\\" or _LIKE_AN_ESCAPE.search(shown) is None:
        return shown
    return printable_name(path.replace("\\", "\\\\"))


def _files_of_lines(descriptor: int, end: bytes) -> Iterator[ImageFile | None]:
    for line in _lines(descriptor, end):
        if line is None:
            yield None
        elif b"\0" in line:
            shown = shown_name(os.fsdecode(line))
            reason = f"{shown} holds zero bytes; expected one path a line. See --null."
            yield ImageFile(shown, _Unreadable(reason))
        elif line:
            path = os.fsdecode(line)
            try:
                yield from _files(_place(path))
            except DataError as error:  # in the midst of the others it is one that is skipped
                yield ImageFile(shown_name(path), _Unreadable(printable_name(str(error))))


def _lines(descriptor: int, end: bytes) -> Iterator[bytes | None]:
    """The lines of a stream, each as soon as it is there; None before waiting for more.

    Read without a buffer of Python's, which would hold lines back.
    """
    rest = b""
    while True:
        if not _has_input(descriptor):
            yield None
        block = os.read(descriptor, _BLOCK)
        *lines, rest = (rest + block).split(end)
        strips = os.name == "nt" and end == b"\n"
        yield from (line.rstrip(b"\r") if strips else line for line in lines)
        if not block:
            yield rest
            return
        if len(rest) > _LONGEST_LINE:
            raise DataError(
                f"Standard input has a line of more than {_LONGEST_LINE:,} bytes; expected the "
                "path of an image on each line, as `find` writes them (`find -print0`: see --null)."
            )


def _has_input(descriptor: int) -> bool:
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):  # Windows knows it of sockets only
        return True


def _listed(folder: str, refuse: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        refuse(error)
        return iter(())


def _is_image(entry: os.DirEntry[str]) -> bool:
    if not _has_suffix(entry.name):
        return False
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)  # a pipe would be waited for
    # A link that leads nowhere is named when it is read.
    return os.path.isfile(entry.path) or not os.path.exists(entry.path)  # noqa: PTH110, PTH113


def _has_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - called for every file


def _is_zip(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES or not os.path.isfile(path):  # noqa: PTH113 - as above
        return False
    if suffix == ".zip":
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(4) in _ZIP_STARTS
    except OSError:  # it is named when it is read
        return False
