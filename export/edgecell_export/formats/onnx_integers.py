"""Exact edits of quantised ONNX graphs: pixels in, float logits out, no needless steps."""

from collections.abc import Collection
from typing import Final

import numpy as np

from edgecell_export.formats.onnx_graph import (
    INPUT,
    OUTPUT,
    Model,
    add_constant,
    constant,
    drop_unused,
    insert_before,
    only_user,
    producer,
    rename,
    users,
)
from edgecell_runtime.signature import PIXELS

_MOVE_VALUES: Final = frozenset({"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Slice"})
"""What only picks values, and so does to steps what it does to the numbers they stand for."""

_BYTES_ONLY: Final = frozenset({"MaxPool"})


def pixel_tensor(model: Model) -> str:
    """The image as the first layer takes it: behind what only moves its values."""
    return _behind_moves(model, INPUT)


def take_pixels(model: Model) -> None:
    """Makes the graph take uint8 pixels, which one DequantizeLinear turns into fractions.

    It stands in for the quantiser's pair, and feeds layers that stay in float.
    """
    import onnx

    pixels = pixel_tensor(model)
    scale = add_constant(model, np.array(PIXELS.scale, np.float32), "pixel_scale")
    zero_point = add_constant(model, np.array(PIXELS.zero_point, np.uint8), "pixel_zero_point")
    fractions = f"{pixels}.fractions"
    for node in users(model, pixels):
        if node.op_type == "QuantizeLinear":
            for back in users(model, node.output[0]):
                rename(model, {back.output[0]: fractions})
                model.graph.node.remove(back)
            model.graph.node.remove(node)
        else:
            for index, name in enumerate(node.input):
                node.input[index] = fractions if name == pixels else name
    made = onnx.helper.make_node("DequantizeLinear", [pixels, scale, zero_point], [fractions])
    insert_before(model, users(model, fractions)[0], made)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def takes_quantised_pixels(model: Model) -> bool:
    """Whether the image goes through a DequantizeLinear with scale 1/255 and zero point 0 only."""
    found = users(model, _behind_moves(model, _behind_padding(model, INPUT)))
    if [node.op_type for node in found] != ["DequantizeLinear"]:
        return False
    scale, zero_point = (constant(model, given) for given in found[0].input[1:3])
    return bool(scale == np.float32(PIXELS.scale) and zero_point == PIXELS.zero_point)


def takes_plain_pixels(model: Model) -> bool:
    """Whether the graph only casts uint8 pixels to floats from 0 to 255."""
    found = users(model, _behind_moves(model, INPUT))
    return [node.op_type for node in found] == ["Cast"]


def keep_floats(model: Model, names: Collection[str]) -> None:
    """Gives kernels that are to stay in float their activations by Cast, not DequantizeLinear.

    Behind a DequantizeLinear ONNX Runtime would quantise their weights when it loads the file. The
    scale of the activations goes into the weights.
    """
    import onnx

    make = onnx.helper.make_node
    for node in [item for item in model.graph.node if item.name in names]:
        back = producer(model, node.input[0])
        weights = constant(model, node.input[1])
        if back is None or back.op_type != "DequantizeLinear" or weights is None:
            continue
        scale, zero_point = (constant(model, name) for name in back.input[1:3])
        if scale is None or zero_point is None or scale.ndim:
            continue
        steps = f"{node.input[0]}.{node.name}"
        made = [make("Cast", [back.input[0]], [steps], to=onnx.TensorProto.FLOAT)]
        if zero_point:
            zero = add_constant(model, zero_point.astype(np.float32), back.input[2])
            made.append(make("Sub", [steps, zero], [f"{steps}.shifted"]))
        insert_before(model, node, *made)
        node.input[0] = made[-1].output[0]
        node.input[1] = add_constant(model, weights * scale, node.input[1])
    drop_unused(model)


def give_float_logits(model: Model) -> None:
    """Drops the last pair of quantisation steps: the last dense kernel answers in float.

    Its sums are 32-bit integers, so rounding them to 8 bits would only make the answer coarse.
    """
    last = producer(model, OUTPUT)
    if last is None or last.op_type != "DequantizeLinear":
        return
    quantize = producer(model, last.input[0])
    dense = None if quantize is None else producer(model, quantize.input[0])
    if quantize is None or dense is None or dense.op_type not in ("Gemm", "MatMul"):
        return
    if only_user(model, dense.output[0]) is None:
        return
    for node in (last, quantize):
        model.graph.node.remove(node)
    dense.output[0] = OUTPUT


def pass_integers_through(model: Model) -> None:
    """Lets what only picks values work on integers, without a pair of steps around it."""
    bytes_only = {"UINT8", "INT8"}
    for node in [item for item in model.graph.node if item.op_type in _MOVE_VALUES]:
        before, after = producer(model, node.input[0]), only_user(model, node.output[0])
        if before is None or after is None:
            continue
        if (before.op_type, after.op_type) != ("DequantizeLinear", "QuantizeLinear"):
            continue
        steps = [constant(model, name) for item in (before, after) for name in item.input[1:3]]
        if len(steps) != 4 or any(step is None or step.ndim for step in steps):
            continue
        scale, zero_point, other_scale, other_zero_point = (np.asarray(step) for step in steps)
        same = scale == other_scale and zero_point == other_zero_point
        if not same or zero_point.dtype != other_zero_point.dtype:
            continue
        if node.op_type in _BYTES_ONLY and zero_point.dtype.name.upper() not in bytes_only:
            continue
        node.input[0], node.output[0] = before.input[0], after.output[0]
        model.graph.node.remove(after)
        if not users(model, before.output[0]):
            model.graph.node.remove(before)


def _behind_moves(model: Model, name: str) -> str:
    following = users(model, name)
    while len(following) == 1 and following[0].op_type in _MOVE_VALUES:
        name = following[0].output[0]
        following = users(model, name)
    return name


def _behind_padding(model: Model, name: str) -> str:
    """The image with the channel that ``pad_pixels`` adds, where it did."""
    joins = [node for node in users(model, name) if node.op_type == "Concat"]
    return joins[0].output[0] if len(joins) == 1 and joins[0].input[0] == name else name
