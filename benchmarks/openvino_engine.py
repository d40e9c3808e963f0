"""OpenVINO on the CPU, for ONNX files: an engine to compare with, which edgecell does not ship."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines import Engine, Session
from edgecell_runtime.engines.base import describe_tensor
from edgecell_runtime.errors import EngineError, MissingPartError
from edgecell_runtime.signature import Signature, TensorSpec


class OpenVINOSession(Session):
    """An ONNX model in OpenVINO, compiled for the shape that it is run on."""

    def __init__(self, model: bytes, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingPartError("This needs OpenVINO: pip install openvino.") from error
        self._core = openvino.Core()
        self._core.set_property("CPU", _settings(threads))
        try:
            self._model = self._core.read_model(model=model)
            ends = self._model.inputs, self._model.outputs
            inputs, outputs = (tuple(_spec(item) for item in end) for end in ends)
        except EngineError:
            raise
        except Exception as error:  # of every kind
            raise EngineError(f"OpenVINO refuses the model: {error}") from error
        self.signature = Signature(inputs, outputs)
        self._shape: tuple[int, ...] = ()
        self._request: Any = None

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        """Runs the graph; a shape that is new compiles it."""
        try:
            if inputs[0].shape != self._shape:
                self._compile(inputs[0].shape)
            found = self._request.infer(list(inputs))
            return tuple(np.array(found[index]) for index in range(len(self.signature.outputs)))
        except Exception as error:  # as above
            raise EngineError(f"OpenVINO failed: {error}") from error

    def close(self) -> None:
        """Frees the model."""
        self._request = None

    def _compile(self, shape: tuple[int, ...]) -> None:
        self._model.reshape({0: list(shape)})
        self._request = self._core.compile_model(self._model, "CPU").create_infer_request()
        self._shape = shape


def _settings(threads: int) -> dict[str, object]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # On a CPU with AMX it would compute float32 files in bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
    }


def _spec(port: Any) -> TensorSpec:
    shape = tuple(
        None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()
    )
    return describe_tensor(port.get_any_name(), np.dtype(port.element_type.to_dtype()).name, shape)


ENGINE: Final = Engine(
    name="openvino", formats=("onnx",), extra="", module="openvino", open=OpenVINOSession
)
