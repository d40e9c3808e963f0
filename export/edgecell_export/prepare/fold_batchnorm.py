"""Folds BatchNormalization into the layers around it, exactly.

At inference BatchNormalization is ``y = s x + t`` by channel. Two in a row become one, and one
without negative scales moves behind the max pooling that follows it, which keeps order. Then:

1. A convolution or dense layer stands right before it, or only max pooling between them and no
   scale is negative: s and t go into its kernel and bias.
2. Between the layer before and it stand only ReLU and max pooling; Flatten may follow it. They
   commute with a positive factor, so with g = sign(s) and r = sqrt(abs(s))

       y = g r (r x) + t

   r goes into the layer before; g r goes into the kernel of the layer behind. Half of the scale to
   each side keeps both the activations between them and the kernels' rows in a range that 8 bits
   can hold. (All of it on one side changes 1 to 13 % of the labels of `malaria-cnn` as int8: its
   scales span 0.07 to 32. Rescaling through ReLU: Nagel et al. 2019, "Data-Free Quantization
   Through Weight Equalization and Bias Correction".)
3. t goes into the bias of the layer behind, where that is dense or a convolution without padding.
   Behind zero padding it cannot: the border is zero after the shift, not before it. There
   ``t / (g r)`` is added by channel in front of the padding, as a ``Shift``.

Where s is zero or tiny, r is abs(s): dividing t by its root would make the ``Shift`` huge. Without
a layer before, such a channel in front of padding is left to a convolution of 1 x 1.
"""

import dataclasses

import numpy as np

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.chain import (
    Activation,
    Affine,
    Array,
    Chain,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Node,
    Shift,
)
from edgecell_runtime.errors import PreparationError

_TINY = 1e-6
"""A scale below it is taken whole by the layer before."""


class FoldBatchNorm(Pass):
    """Removes every ``Affine`` that has a convolution or dense layer to go into."""

    name = "fold-batchnorm"

    def rewrite(self, chain: Chain) -> Chain:
        """Folds the first ``Affine`` that can be, until there is none."""
        nodes = list(chain.nodes)
        position = 0
        while position < len(nodes):
            folded = _fold(nodes, position) if isinstance(nodes[position], Affine) else None
            nodes, position = (nodes, position + 1) if folded is None else (folded, 0)
        return chain.with_nodes(*nodes)

    def ensures(self, chain: Chain) -> None:
        """No ``Affine`` is left: as Mul and Add it would ruin the 8-bit recipes."""
        if any(isinstance(node, Affine) for node in chain.nodes):
            raise PreparationError(
                "A BatchNormalization of the model has no convolution or dense layer around it to "
                "go into; put one next to it, or leave it out."
            )


def _fold(nodes: list[Node], position: int) -> list[Node] | None:
    """The nodes without the ``Affine`` at ``position``; None where it cannot be folded."""
    affine = nodes[position]
    assert isinstance(affine, Affine)
    before, after = _layer_before(nodes, position), _layer_after(nodes, position)
    following = nodes[position + 1] if position + 1 < len(nodes) else None
    keeps_order = bool((affine.scale >= 0).all())
    result = list(nodes)
    if isinstance(following, Affine):
        result[position : position + 2] = [_joined(affine, following)]
        return result
    if before is not None and _takes_all(nodes[before + 1 : position], keeps_order=keeps_order):
        result[before] = _scale_outputs(nodes[before], affine.scale, affine.shift)
        del result[position]
        return result
    if isinstance(following, MaxPool2D) and keeps_order:
        result[position : position + 2] = [following, affine]
        return result
    if after is None:
        return None
    layer = nodes[after]
    padded = isinstance(layer, Conv2D) and layer.padding == "same"
    if before is None and padded and (np.abs(affine.scale) < _TINY).any():
        kernel = np.diag(affine.scale)[None, None]
        result[position] = Conv2D(kernel, affine.shift, (1, 1), "valid")
        return result
    root, factor = _split(affine.scale, whole=before is None)
    if before is not None:
        result[before] = _scale_outputs(nodes[before], root, np.zeros_like(root))
    repeats = _inputs(layer) // len(factor)
    if padded:
        result[after] = _scale_inputs(layer, factor)
        result[position] = Shift(affine.shift / factor)
    else:
        layer = _shift_inputs(layer, np.tile(affine.shift, repeats))
        result[after] = _scale_inputs(layer, np.tile(factor, repeats))
        del result[position]
    return result


def _split(scale: Array, *, whole: bool) -> tuple[Array, Array]:
    """Gives r and g r for every channel: 1 and s for the layer behind to take the whole of it."""
    if whole:
        return np.ones_like(scale), scale
    size = np.abs(scale)
    root = np.where(size < _TINY, size, np.sqrt(size))
    return root, np.divide(scale, root, out=np.ones_like(scale), where=root > 0)


def _joined(first: Affine, second: Affine) -> Affine:
    return Affine(first.scale * second.scale, first.shift * second.scale + second.shift)


def _takes_all(between: list[Node], *, keeps_order: bool) -> bool:
    """Whether the layer before may take scale and shift, with these nodes between."""
    return not between or (keeps_order and all(isinstance(node, MaxPool2D) for node in between))


def _layer_before(nodes: list[Node], position: int) -> int | None:
    """The layer that a positive factor can move back to; None where there is none."""
    for index in range(position - 1, -1, -1):
        node = nodes[index]
        if isinstance(node, Conv2D | Dense):
            return index
        commutes = isinstance(node, MaxPool2D) or (
            isinstance(node, Activation) and node.kind == "relu"
        )
        if not commutes:
            return None
    return None


def _layer_after(nodes: list[Node], position: int) -> int | None:
    """The layer whose kernel can take the scale in: the next one, Flatten between them or not."""
    for index in range(position + 1, len(nodes)):
        node = nodes[index]
        if isinstance(node, Conv2D | Dense):
            return index
        if not isinstance(node, Flatten):
            return None
    return None


def _inputs(layer: Node) -> int:
    assert isinstance(layer, Conv2D | Dense)
    return int(layer.kernel.shape[-2])


def _scale_outputs(layer: Node, scale: Array, shift: Array) -> Node:
    assert isinstance(layer, Conv2D | Dense)
    return dataclasses.replace(layer, kernel=layer.kernel * scale, bias=layer.bias * scale + shift)


def _scale_inputs(layer: Node, factor: Array) -> Node:
    assert isinstance(layer, Conv2D | Dense)
    return dataclasses.replace(layer, kernel=layer.kernel * factor[:, None])


def _shift_inputs(layer: Node, shift: Array) -> Node:
    """Moves a constant added to every input into the bias; the kernel is not scaled yet."""
    assert isinstance(layer, Conv2D | Dense)
    by_output = np.tensordot(shift, layer.kernel, axes=(0, -2))
    while by_output.ndim > 1:  # over the rows and columns of a convolution
        by_output = by_output.sum(axis=0)
    return dataclasses.replace(layer, bias=layer.bias + by_output)
