"""LiteRT (``ai-edge-litert``), Google's runtime for TFLite files, with XNNPACK kernels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Engine, Session, describe_tensor
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
            self.signature = Signature(
                tuple(_spec(item) for item in inputs), tuple(_spec(item) for item in outputs)
            )
        except EngineError:
            raise
        except Exception as error:  # LiteRT raises RuntimeError and ValueError, by version
            raise EngineError(f"LiteRT refuses the model: {error}") from error
        self._inputs = [item["index"] for item in inputs]
        self._shapes = self._own_shapes = [tuple(map(int, item["shape"])) for item in inputs]
        self._outputs = [item["index"] for item in outputs]

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        return self._run(inputs, strict=True)

    def run_together(
        self, inputs: Sequence[NDArray[np.generic]]
    ) -> tuple[NDArray[np.generic], ...]:
        return self._run(inputs, strict=False)

    def _run(
        self, inputs: Sequence[NDArray[np.generic]], *, strict: bool
    ) -> tuple[NDArray[np.generic], ...]:
        interpreter = self._interpreter
        if interpreter is None:
            raise EngineError("The session is closed.")
        try:
            shapes = [array.shape for array in inputs]
            if shapes != self._shapes:
                self._fit(shapes, strict=strict and shapes != self._own_shapes)
            for index, array in zip(self._inputs, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return tuple(interpreter.get_tensor(index) for index in self._outputs)
        except Exception as error:  # as above
            raise EngineError(f"LiteRT failed: {error}") from error

    def close(self) -> None:
        self._interpreter = None

    def _fit(self, shapes: list[tuple[int, ...]], *, strict: bool) -> None:
        """Makes room for inputs of these shapes; if strict, only where a size is left open."""
        self._shapes = []  # none fits until all is done
        for index, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape, strict=strict)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _spec(details: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in details["shape_signature"])
    scale, zero_point = details["quantization"]
    params = QuantizationParams(float(scale), int(zero_point)) if scale else None
    return describe_tensor(details["name"], np.dtype(details["dtype"]).name, shape, params)


ENGINE = Engine(
    name="litert",
    formats=("tflite",),
    extra="tflite",
    module="ai_edge_litert.interpreter",
    open=LiteRTSession,
)
