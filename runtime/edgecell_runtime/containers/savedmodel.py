"""SavedModel: the manifest among its assets, with a list of every file's SHA-256.

The list has the form of ``sha256sum``, so ``sha256sum -c assets/edgecell.sha256`` checks it too.
The folder holds the files below and no other; each is opened once, without following links, and
TensorFlow, which takes only paths, is given the copy that was made of the very bytes that were
hashed.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from edgecell_runtime.containers.reading import chunks, opened
from edgecell_runtime.errors import FormatError, IntegrityError, ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_NAME = "assets/edgecell_manifest.json"
LABELS_NAME = "assets/labels.txt"
DIGESTS_NAME = "assets/edgecell.sha256"

MAX_FILES = 64
"""A SavedModel with more files is not one of ours."""

_SMALL = 1 << 20
_LIMITS = {MANIFEST_NAME: MAX_MANIFEST_BYTES, LABELS_NAME: _SMALL, DIGESTS_NAME: _SMALL} | {
    "fingerprint.pb": _SMALL,
    "saved_model.pb": 1 << 28,
    "variables/variables.index": 1 << 26,
}
"""Every file that a SavedModel of ours may have, with the most bytes that it may have."""

_SHARD = re.compile(r"variables/variables\.data-\d{5}-of-\d{5}")
_FOLDERS = ("assets", "variables")


@dataclass(frozen=True)
class Sealed:
    """A folder whose seal was checked.

    Attributes:
        manifest: What it says of itself.
        digest: SHA-256 of the list of digests, which stands for the whole folder; hexadecimal.
        size_bytes: Of all its files.
    """

    manifest: Manifest
    digest: str
    size_bytes: int


def recognises(folder: Path) -> bool:
    """True where the folder holds a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def seal(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, the labels and the list of digests into a SavedModel folder."""
    (folder / "assets").mkdir(exist_ok=True)
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    labels = "".join(f"{label}\n" for label in manifest.labels)
    (folder / LABELS_NAME).write_text(labels, encoding="utf-8")
    (folder / DIGESTS_NAME).unlink(missing_ok=True)
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / DIGESTS_NAME).write_bytes(_listing(found))


def read(folder: Path, limit: int, copy: Path | None = None) -> Sealed:
    """Checks every file against the list, then reads the manifest.

    Args:
        folder: The SavedModel.
        limit: The most bytes that all its files may have together.
        copy: A new folder for the bytes that were hashed, or None. What is left there when an
            error is raised is not to be used.

    Raises:
        IntegrityError: A file was changed, added or removed, or is no plain file.
        FormatError: It is larger than it may be.
        ManifestError: There is no manifest, or it is malformed.
        OSError: It cannot be read.
    """
    names, size = _names_and_size(folder)
    if DIGESTS_NAME not in names or MANIFEST_NAME not in names:
        raise ManifestError(
            "It carries no edgecell manifest; expected a SavedModel as `edgecell export` writes it."
        )
    if size > limit:
        raise FormatError(f"Its files have {size:,} bytes; at most {limit:,} are read.")
    if copy is not None:
        for name in ("", *_FOLDERS):
            (copy / name).mkdir(mode=0o700)
    kept = {
        name: _read_file(folder, name, limit, copy, keep=name in (DIGESTS_NAME, MANIFEST_NAME))
        for name in names
    }
    written = kept[DIGESTS_NAME].content
    found = {name: file.digest for name, file in kept.items() if name != DIGESTS_NAME}
    if written != _listing(found):
        raise IntegrityError(
            f"It is damaged: its files are not the ones that were sealed; `sha256sum -c "
            f"{DIGESTS_NAME}` in it names those that changed. Copy or export it again."
        )
    manifest = Manifest.from_json(kept[MANIFEST_NAME].content)
    return Sealed(
        manifest, hashlib.sha256(written).hexdigest(), sum(file.size for file in kept.values())
    )


@dataclass(frozen=True)
class _Read:
    digest: str
    size: int
    content: bytes


def _read_file(folder: Path, name: str, limit: int, copy: Path | None, *, keep: bool) -> _Read:
    """Hashes a file, and keeps or copies the same bytes; each is read once."""
    digest, content, path = hashlib.sha256(), [], folder / name
    target = nullcontext() if copy is None else (copy / name).open("xb")
    try:
        with target as file, opened(path, _LIMITS.get(name, limit), follow=False) as (source, size):
            for chunk in chunks(source, size):
                digest.update(chunk)
                if keep:
                    content.append(chunk)
                if file is not None:
                    file.write(chunk)
    except FormatError as error:
        raise FormatError(f"{name} in it is refused. {error}") from error
    return _Read(digest.hexdigest(), size, b"".join(content))


def _names_and_size(folder: Path) -> tuple[list[str], int]:
    """The files' names, sorted, and their size together, before any of them is opened."""
    names: list[str] = []
    size = 0
    for entry, name in _entries(folder):
        if len(names) == MAX_FILES:
            raise IntegrityError(_not_ours(f"more than {MAX_FILES} files"))
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise IntegrityError(_not_ours(f"{name!a}, a symbolic link or no plain file"))
        if name not in _LIMITS and not _SHARD.fullmatch(name):
            raise IntegrityError(_not_ours(f"{name!a}"))
        names.append(name)
        size += status.st_size
    return sorted(names), size


def _entries(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """What lies in the folder and in the two folders that it may have."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in _FOLDERS or not entry.is_dir(follow_symlinks=False):
                yield entry, entry.name
                continue
            with os.scandir(entry.path) as inside:
                yield from ((item, f"{entry.name}/{item.name}") for item in inside)


def _not_ours(what: str) -> str:
    return (
        f"It holds {what}; a SavedModel that `edgecell export` writes has no such thing. Copy or "
        "export it again."
    )


def _listing(digests: dict[str, str]) -> bytes:
    """One line a file, sorted by name: digest, two spaces, path."""
    return os.fsencode("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)))
