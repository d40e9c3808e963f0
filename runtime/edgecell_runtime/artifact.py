"""An artifact on disk: its bytes, checked, and the manifest that they carry."""

from pathlib import Path

from edgecell_runtime.bundled import bundled_names
from edgecell_runtime.containers import SUFFIXES, container_of, identify
from edgecell_runtime.containers.base import DIGEST_LENGTH
from edgecell_runtime.containers.reading import read_whole
from edgecell_runtime.errors import ArtifactError, EdgecellError, FormatError, ManifestError
from edgecell_runtime.manifest import Format, Manifest
from edgecell_runtime.records import dataclass

MAX_ARTIFACT_BYTES = (1 << 31) - 1
"""Flatbuffers and protocol buffers end there."""


@dataclass(frozen=True)
class Artifact:
    """One exported model: one format, one recipe.

    Attributes:
        path: Where it was read from.
        manifest: What it says of itself.
        digest: SHA-256 over its bytes, hexadecimal; it identifies the artifact.
        size_bytes: Of the file, or of all files in the folder.
        data: The file's bytes, the same that were hashed; empty for a SavedModel.
    """

    path: Path
    manifest: Manifest
    digest: str
    size_bytes: int
    data: bytes

    @property
    def format(self) -> Format:
        """The format, as found in the bytes."""
        return self.manifest.format


def read_artifact(path: Path, *, copy: Path | None = None) -> Artifact:
    """Reads an artifact and checks its seal before anything else looks at it.

    Every file is opened once, and the bytes that were hashed are the ones that an engine gets.

    Args:
        path: The file, or the folder of a SavedModel.
        copy: Where a SavedModel's bytes are put as they are hashed, for an engine that takes only
            paths: a folder that does not exist yet, inside one that nobody else can write to.

    Raises:
        FormatError: It is of no known format, of another one than its name says, or asks more of
            an engine than to compute.
        IntegrityError: Its bytes are not the ones that were sealed.
        ManifestError: It carries no manifest, or one that cannot be understood.
        ArtifactError: It cannot be read at all.
    """
    try:
        artifact = _read_folder(path, copy) if path.is_dir() else _read_file(path)
        if artifact.format != _promised_format(path, artifact.format):
            raise FormatError(
                f"It is {artifact.format}, and its name says {path.suffix.lstrip('.')}. "
                "Give it the name it was exported under."
            )
    except FileNotFoundError as error:
        named = path.name in bundled_names()
        raise ArtifactError(
            f"There is no artifact {path}; check the path, or write one with `edgecell export`"
            + (f"; Classifier.bundled({path.name!r}) opens the bundled model." if named else ".")
        ) from error
    except (OSError, ValueError) as error:  # ValueError: names that no file can have
        raise ArtifactError(f"{path} cannot be read: {error}.") from error
    except EdgecellError as error:
        raise type(error)(f"{path} is refused. {error}") from error
    return artifact


def _promised_format(path: Path, otherwise: Format) -> Format:
    return SUFFIXES.get(path.suffix.lower(), otherwise)


def _read_file(path: Path) -> Artifact:
    data = read_whole(path, MAX_ARTIFACT_BYTES)
    found = identify(data)
    if found is None:
        raise FormatError(
            "It is neither TFLite nor ONNX, or it is cut short. Copy or export it again."
        )
    manifest = container_of(found).read(data)
    if manifest.format != found:
        raise ManifestError(
            f"Its manifest is of the format {manifest.format}, the file is {found}."
        )
    return Artifact(path, manifest, data[-DIGEST_LENGTH:].decode(), len(data), data)


def _read_folder(path: Path, copy: Path | None) -> Artifact:
    from edgecell_runtime.containers import savedmodel  # devices have none

    if not savedmodel.recognises(path):
        raise FormatError("It is a folder without a saved_model.pb; expected one artifact.")
    sealed = savedmodel.read(path, MAX_ARTIFACT_BYTES, copy)
    if sealed.manifest.format != "savedmodel":
        raise ManifestError(
            f"Its manifest is of the format {sealed.manifest.format}, the folder is savedmodel."
        )
    return Artifact(path, sealed.manifest, sealed.digest, sealed.size_bytes, b"")
