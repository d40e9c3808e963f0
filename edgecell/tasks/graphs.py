"""What an artifact's graph computes, in whatever format it is."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from edgecell_export.macs import onnx_macs, tflite_macs
from edgecell_export.operators import (
    Operators,
    onnx_operators,
    savedmodel_operators,
    tflite_operators,
)
from edgecell_export.output_capture import converter_output
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.errors import EdgecellError, EngineError

Read = TypeVar("Read")

_OPERATORS: Final[Mapping[str, Callable[[Artifact], Operators]]] = {
    "tflite": lambda artifact: tflite_operators(artifact.data),
    "onnx": lambda artifact: onnx_operators(artifact.data),
    "savedmodel": lambda artifact: savedmodel_operators(artifact.path),
}
_MACS: Final[Mapping[str, Callable[[Artifact], int | None]]] = {
    "tflite": lambda artifact: tflite_macs(artifact.data),
    "onnx": lambda artifact: onnx_macs(artifact.data),
    "savedmodel": lambda _: None,
}


def operators_of(artifact: Artifact) -> Operators:
    """The operators of an artifact, with their dtypes.

    Raises:
        MissingPartError: What reads the format is not installed.
        EngineError: The graph cannot be read.
    """
    return _read(artifact, _OPERATORS[artifact.format])


def macs_of(artifact: Artifact) -> int | None:
    """Multiply-accumulates of one query; None where the file does not tell.

    Raises:
        MissingPartError: What reads the format is not installed.
        EngineError: The graph cannot be read.
    """
    return _read(artifact, _MACS[artifact.format])


def _read(artifact: Artifact, reader: Callable[[Artifact], Read]) -> Read:
    try:
        with converter_output():
            return reader(artifact)
    except EdgecellError:
        raise
    except Exception as error:  # the formats' own parsers raise of every kind
        raise EngineError(f"The graph of {artifact.path} cannot be read: {error!r}.") from error
