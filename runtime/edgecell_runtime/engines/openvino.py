"""OpenVINO on the CPU, for ONNX files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Engine, Session, describe_tensor
from edgecell_runtime.errors import EngineError, MissingPartError
from edgecell_runtime.signature import Signature, TensorSpec


class OpenVINOSession(Session):
    """An ONNX model in OpenVINO, compiled for each shape that it is run on."""

    def __init__(self, model: bytes, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingPartError(
                "Running an ONNX artifact in OpenVINO needs it: pip install 'edgecell[openvino]'."
            ) from error
        try:
            self._core = openvino.Core()
            self._core.set_property("CPU", _settings(threads))
            self._model = self._core.read_model(model=model)
            ends = self._model.inputs, self._model.outputs
            inputs, outputs = (tuple(_spec(item) for item in end) for end in ends)
        except EngineError:
            raise
        except Exception as error:  # OpenVINO raises RuntimeError and others, by version
            raise EngineError(f"OpenVINO refuses the model: {error}") from error
        self.signature = Signature(inputs, outputs)
        self._shapes: list[tuple[int, ...]] = []
        self._request: Any = None

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        if self._model is None:
            raise EngineError("The session is closed.")
        wanted = self.signature.inputs
        if len(inputs) != len(wanted) or not all(map(TensorSpec.accepts, wanted, inputs)):
            # It would compile the graph for whatever comes.
            raise EngineError("OpenVINO failed: the inputs are not of the graph's dtype and shape.")
        try:
            self._fit([array.shape for array in inputs])
            found = self._request.infer(list(inputs))
            return tuple(np.array(found[index]) for index in range(len(self.signature.outputs)))
        except Exception as error:  # as above
            raise EngineError(f"OpenVINO failed: {error}") from error

    def close(self) -> None:
        self._model = self._request = self._core = None

    def _fit(self, shapes: list[tuple[int, ...]]) -> None:
        """Compiles the graph for inputs of these shapes, if they are new."""
        if shapes == self._shapes:
            return
        self._model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
        self._request = self._core.compile_model(self._model, "CPU").create_infer_request()
        self._shapes = shapes


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


ENGINE = Engine(
    name="openvino",
    formats=("onnx",),
    extra="openvino",
    module="openvino",
    open=OpenVINOSession,
)
