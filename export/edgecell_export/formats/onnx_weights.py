"""Integer weights in a float graph: stored only, or multiplied by activations in bytes."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats import onnx_layers, onnx_rewrites
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.onnx_graph import (
    KERNELS,
    Model,
    Node,
    add_constant,
    attribute,
    constant,
    drop_unused,
    insert_before,
    producer,
)
from edgecell_export.formats.onnx_grid import (
    channel_axis,
    largest_weight,
    scale_overrides,
    weight_scales,
)

_DENSE: Final = ("MatMul", "Gemm")
_SPLIT: Final = "_MatMul"


def store_integers(model: Model, conversion: Conversion) -> None:
    """Stores kernels as signed bytes by channel, which are made floats when the file is loaded.

    Raises:
        ConversionError: A layer that is to stay in float is not there.
    """
    onnx_layers.in_layers(model, conversion.float_layers)
    largest = largest_weight(conversion.recipe, conversion.target)
    for node in onnx_layers.kernels(model):
        weights = constant(model, node.input[1])
        if weights is None or onnx_layers.layer_of(node) in conversion.float_layers:
            continue
        axis = channel_axis(node) % weights.ndim
        scales = _across(weight_scales(weights, axis, largest), axis, weights.ndim)
        steps = add_constant(model, np.rint(weights / scales).astype(np.int8), node.input[1])
        node.input[1] = _floats_of(model, node, steps, scales)


def fold_when_loaded(model: Model) -> None:
    """Replaces the DequantizeLinear of each kernel's weights by what is folded when loaded.

    For kernels that compute in floats: ONNX Runtime does not fold a DequantizeLinear of constants,
    but runs it each time, which for the weights of `malaria-cnn` takes ten times as long as the
    rest of it.
    """
    for node in [item for item in model.graph.node if item.op_type in KERNELS]:
        back = producer(model, node.input[1])
        if back is None or back.op_type != "DequantizeLinear":
            continue
        steps, scales = constant(model, back.input[0]), constant(model, back.input[1])
        if steps is None or scales is None:
            continue
        axis = attribute(back, "axis", 1) % steps.ndim
        node.input[1] = _floats_of(model, node, back.input[0], _across(scales, axis, steps.ndim))
    drop_unused(model)


def stored_steps(model: Model, node: Node) -> NDArray[np.integer] | None:
    """A kernel's integer weights as they are stored; None where they are floats."""
    source = producer(model, node.input[1])
    if source is not None and source.op_type == "Mul":
        source = producer(model, source.input[0])
    if source is None or source.op_type not in ("Cast", "DequantizeLinear"):
        return None
    return constant(model, source.input[0])


def _across(scales: NDArray[np.float32], axis: int, dimensions: int) -> NDArray[np.float32]:
    """Scales by channel in the shape that multiplies weights."""
    return scales.reshape([-1 if index == axis else 1 for index in range(dimensions)])


def _floats_of(model: Model, node: Node, steps: str, scales: NDArray[np.float32]) -> str:
    """Puts Cast and Mul in front of a kernel; gives the name of the product."""
    import onnx

    factor = add_constant(model, scales, f"{steps}.scales")
    insert_before(
        model,
        node,
        onnx.helper.make_node("Cast", [steps], [f"{factor}.cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [f"{factor}.cast", factor], [f"{factor}.real"]),
    )
    return f"{factor}.real"


def quantize_dense_while_running(model: Model, conversion: Conversion, folder: Path) -> Model:
    """Multiplies dense layers in bytes, whose activations are quantised while running.

    Convolutions stay in float: ONNX Runtime's dynamic ones are slower than those.

    Raises:
        ConversionError: A layer that is to stay in float is not there.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = onnx_layers.in_layers(model, conversion.float_layers)
    largest = largest_weight(conversion.recipe, conversion.target)
    overrides = {}
    for node in onnx_layers.kernels(model):
        weights = constant(model, node.input[1])
        if node.op_type in _DENSE and node not in kept and weights is not None:
            overrides[node.input[1]] = scale_overrides(weights, channel_axis(node), largest)
    source, target = folder / "float.onnx", folder / "dynamic.onnx"
    onnx.save(model, source)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=list(_DENSE),
        per_channel=True,
        weight_type=QuantType.QInt8,
        # The quantiser splits every Gemm before it looks at names.
        nodes_to_exclude=[f"{node.name}{split}" for node in kept for split in ("", _SPLIT)],
        extra_options={"TensorQuantOverrides": overrides},
    )
    quantized = onnx.load(target)
    for node in quantized.graph.node:
        node.name = node.name.removesuffix("_quant").removesuffix(_SPLIT)
    onnx_rewrites.join_dense_biases(quantized)
    return quantized
