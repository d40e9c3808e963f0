"""Adds channels that hold nothing where kernels are faster with a rounder number of them.

ONNX Runtime's byte convolution reads the image in place if four divides the number of channels;
otherwise it copies every window first, which takes the greater part of the time of a first layer
with three channels. Its fast float convolution takes blocks of up to sixteen channels, of the
layer before as well as behind.
"""

from collections.abc import Collection
from typing import Any, Final

import numpy as np

from edgecell_export.formats.onnx_graph import (
    INPUT,
    Model,
    Node,
    add_constant,
    attribute,
    constant,
    insert_before,
    only_user,
    producer,
    shapes,
)

FOR_BYTES: Final = 4
FOR_FLOATS: Final = 16

_KEEP_ZERO: Final = frozenset({"Relu", "MaxPool", "AveragePool"})
"""What makes zeros of a channel of zeros, and leaves the others alone."""


def pad_channels(model: Model, multiple: int, excluded: Collection[str] = ()) -> None:
    """Adds channels of zeros between two convolutions, where there is an odd number of them.

    The pattern, in which nothing has another user: Conv, nodes that keep zeros, Conv. A number that
    four divides is left alone: somebody chose it.

    Args:
        model: A float graph.
        multiple: What the number of channels becomes a multiple of.
        excluded: Names of convolutions to leave alone.
    """
    for first in [node for node in model.graph.node if node.op_type == "Conv"]:
        second = only_user(model, first.output[0])
        while second is not None and second.op_type in _KEEP_ZERO:
            second = only_user(model, second.output[0])
        if second is None or second.op_type != "Conv" or {first.name, second.name} & set(excluded):
            continue
        stored = [constant(model, name) for name in (*first.input[1:], second.input[1])]
        groups = attribute(first, "group", 1), attribute(second, "group", 1)
        if any(value is None for value in stored) or groups != (1, 1):
            continue
        channels = int(np.asarray(stored[0]).shape[0])
        if channels % FOR_BYTES == 0:
            continue
        for place in range(1, len(first.input)):
            _pad_constant(model, first, place, axis=0, missing=-channels % multiple)
        _pad_constant(model, second, 1, axis=1, missing=-channels % multiple)
    del model.graph.value_info[:]


def pad_pixels(model: Model) -> None:
    """Gives an image of three channels a fourth, for a first convolution on integers.

    What the channel holds does not matter, since the weights behind it are zero. It is a third of
    the image's own bytes in their order, which costs less time than one channel or zeros.
    The pattern: uint8 image (n, height, width, 3), Transpose, DequantizeLinear, Conv with weights
    from a DequantizeLinear.
    """
    import onnx

    transpose = only_user(model, INPUT)
    fractions = None if transpose is None else only_user(model, transpose.output[0])
    first = None if fractions is None else only_user(model, fractions.output[0])
    if transpose is None or fractions is None or first is None:
        return
    kinds = (transpose.op_type, fractions.op_type, first.op_type)
    if kinds != ("Transpose", "DequantizeLinear", "Conv") or attribute(first, "group", 1) != 1:
        return
    weights = producer(model, first.input[1])
    stored = None if weights is None else constant(model, weights.input[0])
    sizes = shapes(model)[INPUT]
    if weights is None or stored is None or len(sizes) != 4 or sizes[3] != 3 or None in sizes[1:]:
        return
    if list(attribute(transpose, "perm", [])) != [0, 3, 1, 2] or stored.shape[1] != 3:
        return
    _pad_constant(model, weights, 0, axis=1, missing=1)
    height, width = int(sizes[1] or 0), int(sizes[2] or 0)
    planes = _integers(model, "planes", -1, 3, height * width)
    column = _integers(model, "column", -1, height, width, 1)
    zero, one = _integers(model, "first", 0), _integers(model, "second", 1)
    make = onnx.helper.make_node
    insert_before(
        model,
        transpose,
        make("Reshape", [INPUT, planes], ["pixels.planes"]),
        make("Slice", ["pixels.planes", zero, one, one], ["pixels.third"]),
        make("Reshape", ["pixels.third", column], ["pixels.column"]),
        make("Concat", [INPUT, "pixels.column"], ["pixels.padded"], axis=3),
    )
    transpose.input[0] = "pixels.padded"
    del model.graph.value_info[:]


def _pad_constant(model: Model, node: Node, place: int, *, axis: int, missing: int) -> None:
    """Replaces a stored input of a node by one with zeros behind it."""
    value: Any = constant(model, node.input[place])
    widths = [(0, missing if index == axis else 0) for index in range(value.ndim)]
    node.input[place] = add_constant(model, np.pad(value, widths), node.input[place])


def _integers(model: Model, name: str, *values: int) -> str:
    return add_constant(model, np.array(values, np.int64), name)
