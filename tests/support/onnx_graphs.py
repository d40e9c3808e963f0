"""Hand-made ONNX graphs, and what ONNX Runtime answers for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

RNG = np.random.default_rng(11)


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)


def graph(
    nodes: Sequence[Any],
    constants: dict[str, NDArray[Any]],
    image: tuple[int | None, ...],
    logits: tuple[int | None, ...],
) -> Any:
    """A model from ``image`` to ``logits``, float32."""
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        list(nodes),
        "made",
        [make("image", kind, image)],
        [make("logits", kind, logits)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(made, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: Any, image: NDArray[Any], *names: str) -> list[NDArray[Any]]:
    """The named outputs (all of them by default), without any optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(list(names) or None, {"image": image}))


def kinds(model: Any) -> list[str]:
    return [item.op_type for item in model.graph.node]


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
