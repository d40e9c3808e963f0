"""ONNX Runtime on the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Engine, Session, describe_tensor
from edgecell_runtime.errors import EngineError, MissingPartError
from edgecell_runtime.signature import Signature, TensorSpec

_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}
_ERRORS_ONLY = 3


class ONNXRuntimeSession(Session):
    """An ONNX model in ONNX Runtime."""

    def __init__(self, model: bytes, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPartError(
                "Running an ONNX artifact needs ONNX Runtime: pip install 'edgecell[onnx]'."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the CPU from decoding, and from the rest of a device.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            self.signature = Signature(
                tuple(_spec(item) for item in inputs), tuple(_spec(item) for item in outputs)
            )
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise EngineError(f"ONNX Runtime refuses the model: {error}") from error
        self._inputs = [item.name for item in inputs]
        self._outputs = [item.name for item in outputs]

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        if self._session is None:
            raise EngineError("The session is closed.")
        try:
            feed = dict(zip(self._inputs, inputs, strict=True))
            return tuple(self._session.run(self._outputs, feed))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed: {error}") from error

    def close(self) -> None:
        self._session = None


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return describe_tensor(node.name, _DTYPES.get(node.type, node.type), shape)


ENGINE = Engine(
    name="onnxruntime",
    formats=("onnx",),
    extra="onnx",
    module="onnxruntime",
    open=ONNXRuntimeSession,
)
