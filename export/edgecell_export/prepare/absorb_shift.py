"""Turns a ``Shift`` in front of a padded convolution into one more channel, exactly.

As 8-bit integers a shift does harm: most activations behind a ReLU are zero, and what zero becomes
is rounded for each channel, the same way at every pixel. With a channel that is constant the shift
becomes part of the convolution behind: with v the constant and t the shift,

    conv(w + t) = conv([w, v]),  the new channel's kernel being  sum over channels of t kernel / v

and since the padding makes the new channel zero outside of the image too, borders come out right.
The constant comes from the layer before: a filter of zeros with the bias v, which ReLU and max
pooling let through. With v the largest activation, it is exactly the last of the 256 steps.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import Activation, Conv2D, MaxPool2D, Node, Shift


class AbsorbShift(Pass):
    """Removes every ``Shift`` between two convolutions.

    Args:
        batches: What the chain is given, each (n, ...); the largest activation on it becomes the
            constant. Any positive constant is exact; this one suits 8 bits.
    """

    name = "absorb-shift"

    def __init__(self, batches: Sequence[NDArray[np.floating]]) -> None:
        self._batches = batches

    def rewrite(self, chain: Chain) -> Chain:
        """Absorbs one shift after another; one without a convolution before it stays."""
        nodes = list(chain.nodes)
        for position in range(len(nodes) - 2, -1, -1):
            shift, after = nodes[position], nodes[position + 1]
            before = _convolution_before(nodes, position)
            if isinstance(shift, Shift) and isinstance(after, Conv2D) and before is not None:
                level = self._largest(chain.with_nodes(*nodes[:position]))
                nodes[before] = _with_constant(nodes[before], level)
                nodes[position + 1] = _reading_constant(after, shift, level)
                del nodes[position]
        return chain.with_nodes(*nodes)

    def _largest(self, part: Chain) -> float:
        largest = 0.0
        for batch in self._batches:
            largest = max(largest, float(part.evaluate(batch.astype(np.float64)).max()))
        return largest or 1.0


def _convolution_before(nodes: list[Node], position: int) -> int | None:
    """The convolution whose constant channel reaches ``position`` unchanged."""
    for index in range(position - 1, -1, -1):
        node = nodes[index]
        if isinstance(node, Conv2D):
            return index
        passes = isinstance(node, MaxPool2D) or (
            isinstance(node, Activation) and node.kind == "relu"
        )
        if not passes:
            return None
    return None


def _with_constant(layer: Node, level: float) -> Conv2D:
    assert isinstance(layer, Conv2D)
    empty = np.zeros((*layer.kernel.shape[:3], 1))
    return dataclasses.replace(
        layer,
        kernel=np.concatenate([layer.kernel, empty], axis=3),
        bias=np.append(layer.bias, level),
    )


def _reading_constant(layer: Conv2D, shift: Shift, level: float) -> Conv2D:
    taps = np.einsum("ijco,c->ijo", layer.kernel, shift.shift) / level
    return dataclasses.replace(
        layer, kernel=np.concatenate([layer.kernel, taps[:, :, None]], axis=2)
    )
