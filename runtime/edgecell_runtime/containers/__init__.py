"""Where each format keeps the manifest inside its file, one format a file.

A single-file format ends in 64 hexadecimal digits: the SHA-256 of every byte before them. Cutting,
appending or changing a byte breaks it. It proves integrity, not authorship.
"""

from edgecell_runtime.containers import onnx, tflite
from edgecell_runtime.containers.base import Container
from edgecell_runtime.manifest import Format

CONTAINERS: dict[Format, Container] = {"tflite": tflite.CONTAINER, "onnx": onnx.CONTAINER}
"""The formats that are one file."""

SUFFIXES: dict[str, Format] = {".tflite": "tflite", ".onnx": "onnx", ".savedmodel": "savedmodel"}
"""File and folder name endings, with the format that each promises."""


def identify(data: bytes) -> Format | None:
    """Tells a file's format from its bytes; None where it is of none that is known."""
    for name, container in CONTAINERS.items():
        if container.recognises(data):
            return name
    return None
