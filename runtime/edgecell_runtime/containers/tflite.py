"""TFLite: associated files in a zip archive appended to the flatbuffer.

That is where the format's own metadata convention keeps ``labels.txt``; ``zipfile`` and other tools
read it, and engines ignore what follows the flatbuffer. The digest is the archive's comment, which
is the last thing in the file.
"""

import io
import zipfile

from edgecell_runtime.containers.base import BLANK_DIGEST, Container
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_NAME = "edgecell_manifest.json"
LABELS_NAME = "labels.txt"
OUTPUT_LABELS_NAME = "output_labels.txt"

_MARKER = b"edgecell sha256 "
_OLDEST = (1980, 1, 1, 0, 0, 0)


def recognises(data: bytes) -> bool:
    """True where the bytes carry TFLite's file identifier."""
    return data[4:8] == b"TFL3"


def output_labels_name(manifest: Manifest) -> str:
    """The archive's file that has one line an output.

    Other tools refuse more lines than outputs; a single logit has its own label and no other.
    """
    return LABELS_NAME if manifest.head.label is None else OUTPUT_LABELS_NAME


def attach(model: bytes, manifest: Manifest) -> bytes:
    """Appends the archive with the manifest and the labels, and a blank digest."""
    buffer = io.BytesIO()
    buffer.write(model)
    files = {
        MANIFEST_NAME: manifest.to_json(),
        LABELS_NAME: "".join(f"{label}\n" for label in manifest.labels).encode(),
    }
    if manifest.head.label is not None:
        files[OUTPUT_LABELS_NAME] = f"{manifest.head.label}\n".encode()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), content)
        archive.comment = _MARKER + BLANK_DIGEST
    return buffer.getvalue()


def find_manifest(data: bytes) -> bytes:
    """The manifest's JSON from the appended archive.

    Raises:
        ManifestError: The archive is damaged, or does not hold exactly one stored manifest.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [item for item in archive.infolist() if item.filename == MANIFEST_NAME]
            if len(entries) != 1:
                raise ManifestError(
                    f"The appended archive holds {len(entries)} files {MANIFEST_NAME}; expected 1."
                )
            entry = entries[0]
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_MANIFEST_BYTES:
                raise ManifestError(
                    f"{MANIFEST_NAME} is compressed or above {MAX_MANIFEST_BYTES:,} bytes; "
                    "expected a small stored file."
                )
            return archive.read(entry)
    except ManifestError:
        raise
    except Exception as error:  # zipfile raises of many kinds where an archive is malformed
        raise ManifestError(f"The appended archive cannot be read: {error}.") from error


CONTAINER = Container(recognises, attach, find_manifest, _MARKER)
