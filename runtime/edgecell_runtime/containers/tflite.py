"""TFLite: associated files in a zip archive appended to the flatbuffer.

That is where the format's own metadata convention keeps ``labels.txt``; ``zipfile`` and other tools
read it, and engines ignore what follows the flatbuffer. The digest is the archive's comment, which
is the last thing in the file. ``archive`` reads it; ``tflite_model`` looks into the model.
"""

from edgecell_runtime.containers import tflite_model
from edgecell_runtime.containers.archive import read_archive
from edgecell_runtime.containers.base import BLANK_DIGEST, Container
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_NAME = "edgecell_manifest.json"
LABELS_NAME = "labels.txt"
OUTPUT_LABELS_NAME = "output_labels.txt"

_MARKER = b"edgecell sha256 "
_COMMENT_LENGTH = len(_MARKER + BLANK_DIGEST)
_OLDEST = (1980, 1, 1, 0, 0, 0)


def output_labels_name(manifest: Manifest) -> str:
    """The archive's file that has one line an output.

    Other tools refuse more lines than outputs; a single logit has its own label and no other.
    """
    return LABELS_NAME if manifest.head.label is None else OUTPUT_LABELS_NAME


def attach(model: bytes, manifest: Manifest) -> bytes:
    """Appends the archive with the manifest and the labels, and a blank digest."""
    import io  # here, since devices never write one, and zipfile is slow to import
    import zipfile

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
        ManifestError: The archive is not the one that ``attach`` writes.
    """
    files = read_archive(data, _COMMENT_LENGTH).files
    unknown = sorted(set(files) - {MANIFEST_NAME, LABELS_NAME, OUTPUT_LABELS_NAME})
    if unknown:
        raise ManifestError(
            f"The appended archive holds {unknown[0][:80]!a}, which `edgecell export` never puts "
            "there. Export it again."
        )
    if MANIFEST_NAME not in files:
        raise ManifestError(f"The appended archive holds no {MANIFEST_NAME}. Export it again.")
    start, end = files[MANIFEST_NAME]
    if end - start > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST_NAME} is above {MAX_MANIFEST_BYTES:,} bytes.")
    return data[start:end]


def refuse_hostile(data: bytes) -> None:
    """Refuses an archive that readers may read in two ways, then what ``tflite_model`` refuses.

    Raises:
        ManifestError: The archive is not the one that ``attach`` writes.
        FormatError: The model asks more of an engine than to compute.
    """
    tflite_model.refuse_hostile(data, read_archive(data, _COMMENT_LENGTH).start)


CONTAINER = Container(attach, find_manifest, refuse_hostile, seal_marker=_MARKER)
