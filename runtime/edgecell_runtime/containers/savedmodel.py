"""SavedModel: the manifest among its assets, with a list of every file's SHA-256.

The list has the form of ``sha256sum``, so ``sha256sum -c assets/edgecell.sha256`` checks it too.
"""

import hashlib
import os
from pathlib import Path

from edgecell_runtime.errors import IntegrityError, ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_NAME = "assets/edgecell_manifest.json"
LABELS_NAME = "assets/labels.txt"
DIGESTS_NAME = "assets/edgecell.sha256"

MAX_FILES = 64
"""A SavedModel with more files is not one of ours."""


def recognises(folder: Path) -> bool:
    """True where the folder holds a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def seal(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, the labels and the list of digests into a SavedModel folder."""
    (folder / "assets").mkdir(exist_ok=True)
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    labels = "".join(f"{label}\n" for label in manifest.labels)
    (folder / LABELS_NAME).write_text(labels, encoding="utf-8")
    (folder / DIGESTS_NAME).write_bytes(_digests(folder))


def read(folder: Path) -> tuple[Manifest, str]:
    """Checks every file against the list, then reads the manifest.

    Returns:
        The manifest and the SHA-256 of the list, which stands for the whole folder.

    Raises:
        IntegrityError: A file was changed, added, removed, or is a symbolic link.
        ManifestError: There is no manifest, or it is malformed.
    """
    if not (folder / DIGESTS_NAME).is_file() or not (folder / MANIFEST_NAME).is_file():
        raise ManifestError(
            f"{folder} carries no edgecell manifest; expected a SavedModel as `edgecell export` "
            "writes it."
        )
    written = (folder / DIGESTS_NAME).read_bytes()
    if written != _digests(folder):
        raise IntegrityError(
            f"{folder} is damaged: its files are not the ones that were sealed; `sha256sum -c "
            f"{DIGESTS_NAME}` in it names those that changed. Copy or export it again."
        )
    manifest_file = folder / MANIFEST_NAME
    if manifest_file.stat().st_size > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{manifest_file} is above {MAX_MANIFEST_BYTES:,} bytes.")
    return Manifest.from_json(manifest_file.read_bytes()), hashlib.sha256(written).hexdigest()


def _digests(folder: Path) -> bytes:
    """One line a file, sorted by name: digest, two spaces, path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if len(paths) > MAX_FILES or any(path.is_symlink() or not path.is_file() for path in paths):
        raise IntegrityError(
            f"{folder} holds more than {MAX_FILES} files, or something that is not a plain file, "
            "such as a symbolic link; a SavedModel of edgecell has neither. Copy or export it "
            "again."
        )
    lines = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if name != DIGESTS_NAME:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return os.fsencode("".join(lines))
