"""The integer grids of weights in ONNX files.

x86 processors before VNNI multiply unsigned by signed bytes with ``vpmaddubsw``, which adds two
products in 16 bits and clips the sum at 32,767: with activations up to 255 and weights up to 127
it can reach 2 x 255 x 127 = 64,770. With weights up to 63 no pair passes 2 x 255 x 63 = 32,130,
whichever two a kernel takes, so that answers are the same on every processor.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.onnx_graph import Node, attribute
from edgecell_export.kinds import Target
from edgecell_export.recipes import Recipe

FULL: Final = 127
"""Of signed bytes, symmetric."""

REDUCED: Final = 63
"""What no pair of products can overflow 16 bits with."""

_WIDE_SUMS: Final = frozenset({"x86-vnni", "arm64"})
"""Targets whose byte kernels sum products in 32 bits."""


def largest_weight(recipe: Recipe, target: Target) -> int:
    """The largest step of a weight: 127, or 63 where bytes are multiplied and may overflow."""
    bytes_multiplied = recipe.name in ("dynamic_int8", "static_int8")
    return REDUCED if bytes_multiplied and target not in _WIDE_SUMS else FULL


def channel_axis(node: Node) -> int:
    """The axis of a kernel's weights that its outputs lie on."""
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else -1


def weight_scales(weights: NDArray[np.float32], axis: int, largest: int) -> NDArray[np.float32]:
    """Sizes of a step by output channel: the largest weight of each becomes the largest step.

    A channel of zeros has no size of its own; it takes the largest of the others, which suits its
    bias.
    """
    others = tuple(index for index in range(weights.ndim) if index != axis % weights.ndim)
    extremes = np.abs(weights.astype(np.float64)).max(axis=others)
    extremes = np.where(extremes > 0, extremes, extremes.max() or 1.0)
    scales: NDArray[np.float32] = (extremes / largest).astype(np.float32)
    return scales


def scale_overrides(weights: NDArray[np.float32], axis: int, largest: int) -> list[dict[str, Any]]:
    """The same as ONNX Runtime's quantiser takes them, as ``TensorQuantOverrides`` of a tensor."""
    from onnxruntime.quantization import QuantType

    return [
        {
            "axis": axis % weights.ndim,
            "quant_type": QuantType.QInt8,
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(0, np.int8),
        }
        for scale in weight_scales(weights, axis, largest)
    ]
