"""LiteRT (``ai-edge-litert``), Google's runtime for TFLite files, with XNNPACK kernels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import LAYOUTS, Engine, Session
from edgecell_runtime.errors import EngineError, MissingPartError
from edgecell_runtime.signature import QuantizationParams, Signature, TensorSpec


class LiteRTSession(Session):
    """A TFLite model in LiteRT's interpreter."""

    def __init__(self, model: bytes, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingPartError(
                "Running a TFLite artifact needs LiteRT: pip install 'edgecell[tflite]'."
            ) from error
        try:
            # The interpreter reads these bytes in place, and keeps them alive itself.
            self._interpreter = Interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except Exception as error:  # LiteRT raises RuntimeError and ValueError, by version
            raise EngineError(f"LiteRT refuses the model: {error}") from error
        self.signature = Signature(
            tuple(_spec(item) for item in inputs), tuple(_spec(item) for item in outputs)
        )
        self._inputs = [item["index"] for item in inputs]
        self._outputs = [item["index"] for item in outputs]

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        interpreter = self._interpreter
        if interpreter is None:
            raise EngineError("The session is closed.")
        try:
            for index, array in zip(self._inputs, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return tuple(interpreter.get_tensor(index) for index in self._outputs)
        except Exception as error:  # as above
            raise EngineError(f"LiteRT failed: {error}") from error

    def close(self) -> None:
        self._interpreter = None


def _spec(details: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in details["shape_signature"])
    scale, zero_point = details["quantization"]
    params = QuantizationParams(float(scale), int(zero_point)) if scale else None
    dtype = np.dtype(details["dtype"]).name
    return TensorSpec(details["name"], dtype, shape, LAYOUTS[len(shape)], params)


ENGINE = Engine(
    name="litert",
    formats=("tflite",),
    extra="tflite",
    module="ai_edge_litert",
    open=LiteRTSession,
)
