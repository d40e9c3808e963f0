"""Where each format keeps the manifest inside its file, one format a file.

A single-file format ends in 64 hexadecimal digits: the SHA-256 of every byte before them. Cutting,
appending or changing a byte breaks it. It proves integrity, not authorship.
"""

from edgecell_runtime.containers.base import Container
from edgecell_runtime.errors import FormatError
from edgecell_runtime.manifest import Format

SUFFIXES: dict[str, Format] = {".tflite": "tflite", ".onnx": "onnx", ".savedmodel": "savedmodel"}
"""File and folder name endings, with the format that each promises."""

_TFLITE_IDENTIFIER = b"TFL3"


def container_of(artifact_format: Format) -> Container:
    """How a format that is one file carries its manifest.

    The module is imported here, so that a device reads the code of its own format only.

    Raises:
        FormatError: The format is a folder.
    """
    if artifact_format == "tflite":
        from edgecell_runtime.containers import tflite

        return tflite.CONTAINER
    if artifact_format == "onnx":
        from edgecell_runtime.containers import onnx

        return onnx.CONTAINER
    raise FormatError(f"{artifact_format} is not one file; expected tflite or onnx.")


def identify(data: bytes) -> Format | None:
    """Tells a file's format from its bytes; None where it is of none that is known."""
    if data[4:8] == _TFLITE_IDENTIFIER:
        return "tflite"
    from edgecell_runtime.containers import onnx

    return "onnx" if onnx.recognises(data) else None
