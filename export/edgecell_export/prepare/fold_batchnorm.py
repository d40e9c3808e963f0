"""Folds BatchNormalization into the layers around it, exactly.

At inference BatchNormalization is ``y = s x + t`` by channel. Two in a row become one; one moves
behind the average pooling that follows it, and behind max pooling too where no scale is negative.
Then:

1. A layer stands right before it, or only poolings between them that let it pass: s and t go into
   its kernel and bias.
2. Between the layer before and it stand only ReLU and pooling; Flatten or zero padding may follow
   it. They commute with a positive factor, so with g = sign(s) and r = sqrt(abs(s))

       y = g r (r x) + t

   r goes into the layer before; g r goes into the kernel of the layer behind. Half of the scale to
   each side keeps both the activations between them and the kernels' rows in a range that 8 bits
   can hold. (All of it on one side changes 1 to 13 % of the labels of `malaria-cnn` as int8: its
   scales span 0.07 to 32. Rescaling through ReLU: Nagel et al. 2019, "Data-Free Quantization
   Through Weight Equalization and Bias Correction".)
3. t goes into the bias of the layer behind, where nothing is padded between them. Behind zero
   padding it cannot: the border is zero after the shift, not before it. There ``t / (g r)`` is
   added by channel in front of the padding, as a ``Shift``.

Where s is zero or tiny, r is abs(s): dividing t by its root would make the ``Shift`` huge. Without
a layer before, all of s goes behind and t / s in front of padding; where one channel's s is much
smaller than another's, that is too wide for integers, and a convolution of 1 x 1 takes both.
Anything else stays as it is.
"""

import numpy as np

from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Node,
    Shift,
    ZeroPad2D,
)
from edgecell_runtime.errors import PreparationError

_TINY = 1e-6
"""A scale below it is taken whole by the layer before."""

_SMALL = 0.05
"""A scale below so much of the largest makes a ``Shift`` too wide, without a layer before."""


class FoldBatchNorm(Pass):
    """Removes every ``Affine`` that has a layer to go into."""

    name = "fold-batchnorm"

    def rewrite(self, chain: Chain) -> Chain:
        """Folds the first ``Affine`` that can be, until there is none."""
        nodes = list(chain.nodes)
        position = 0
        while position < len(nodes):
            folded = _fold(nodes, position)
            nodes, position = (nodes, position + 1) if folded is None else (folded, 0)
        return chain.with_nodes(*nodes)

    def ensures(self, chain: Chain) -> None:
        """No ``Affine`` stands beside a layer: as Mul and Add it would cost time and accuracy."""
        for first, second in zip(chain.nodes, chain.nodes[1:], strict=False):
            kinds = {type(first), type(second)}
            if Affine in kinds and kinds & {Conv2D, DepthwiseConv2D, Dense}:
                raise PreparationError(
                    "A BatchNormalization beside a layer was not folded; please report this model."
                )


def _fold(nodes: list[Node], position: int) -> list[Node] | None:
    """The nodes with one thing less to fold at ``position``; None where there is nothing."""
    affine = nodes[position]
    if not isinstance(affine, Affine):
        return None
    following = nodes[position + 1] if position + 1 < len(nodes) else None
    result = list(nodes)
    if isinstance(following, Affine):
        result[position : position + 2] = [_joined(affine, following)]
        return result
    before = _layer_before(nodes, position)
    between = nodes[position if before is None else before + 1 : position]
    if before is not None and all(_lets_pass(node, affine) for node in between):
        result[before] = _layer(nodes[before]).scale_outputs(affine.scale, affine.shift)
        del result[position]
        return result
    if following is not None and _lets_pass(following, affine):
        result[position : position + 2] = [following, affine]
        return result
    return _split_over_layers(nodes, position, before)


def _split_over_layers(nodes: list[Node], position: int, before: int | None) -> list[Node] | None:
    """Scale to the layers on both sides; the shift behind, or left where padding keeps it."""
    affine, after = nodes[position], _layer_after(nodes, position)
    assert isinstance(affine, Affine)
    if after is None:
        return None
    result = list(nodes)
    layer = _layer(nodes[after])
    padded = _pads(layer) or any(isinstance(n, ZeroPad2D) for n in nodes[position:after])
    size = np.abs(affine.scale)
    if before is None and padded and (size < max(_SMALL * size.max(), _TINY)).any():
        kernel = np.diag(affine.scale)[None, None]
        result[position] = Conv2D(kernel, affine.shift, (1, 1), "valid", affine.name)
        return result
    root, factor = _split(affine.scale, whole=before is None)
    if before is not None:
        result[before] = _layer(nodes[before]).scale_outputs(root, np.zeros_like(root))
    if padded:
        result[after] = layer.scale_inputs(factor)
        result[position] = Shift(affine.shift / factor)
    else:
        result[after] = layer.shift_inputs(affine.shift).scale_inputs(factor)
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
    shift = first.shift * second.scale + second.shift
    return Affine(first.scale * second.scale, shift, first.name)


def _lets_pass(node: Node, affine: Affine) -> bool:
    """Whether it makes no difference on which side of the node the ``Affine`` stands."""
    if isinstance(node, MaxPool2D):
        return bool((affine.scale >= 0).all())
    return isinstance(node, AveragePool2D | GlobalAveragePool2D)


def _layer_before(nodes: list[Node], position: int) -> int | None:
    """The layer that a positive factor can move back to; None where there is none."""
    for index in range(position - 1, -1, -1):
        node = nodes[index]
        if isinstance(node, Conv2D | DepthwiseConv2D | Dense):
            return index
        commutes = isinstance(node, MaxPool2D | AveragePool2D | GlobalAveragePool2D) or (
            isinstance(node, Activation) and node.kind == "relu"
        )
        if not commutes:
            return None
    return None


def _layer_after(nodes: list[Node], position: int) -> int | None:
    """The layer whose kernel can take the scale in: the next one, Flatten or zeros between them."""
    for index in range(position + 1, len(nodes)):
        node = nodes[index]
        if isinstance(node, Conv2D | DepthwiseConv2D | Dense):
            return index
        if not isinstance(node, Flatten | ZeroPad2D):
            return None
    return None


def _layer(node: Node) -> Layer:
    assert isinstance(node, Conv2D | DepthwiseConv2D | Dense)
    return node


def _pads(layer: Layer) -> bool:
    return not isinstance(layer, Dense) and layer.padding == "same"
