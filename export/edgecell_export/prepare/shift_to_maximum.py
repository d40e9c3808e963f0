"""Turns a ``Shift`` behind a ReLU into a shifted ReLU, exactly: one step less in float.

    relu(z) + t = max(z + t, t)

t goes into the bias of the layer before, and the maximum stands where the shift stood: max pooling
between them keeps order.
"""

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Maximum,
    MaxPool2D,
    Node,
    Shift,
)


class ShiftToMaximum(Pass):
    """Removes every ``Shift`` that follows a layer and its ReLU."""

    name = "shift-to-maximum"

    def rewrite(self, chain: Chain) -> Chain:
        """Rewrites one shift after another; one without a ReLU before it stays."""
        nodes = list(chain.nodes)
        for position in range(len(nodes) - 1, -1, -1):
            shift, found = nodes[position], _layer_and_relu(nodes, position)
            if not isinstance(shift, Shift) or found is None:
                continue
            layer, relu = found
            node = nodes[layer]
            assert isinstance(node, Conv2D | DepthwiseConv2D | Dense)
            nodes[layer] = node.scale_outputs(shift.shift * 0 + 1, shift.shift)
            nodes[position] = Maximum(shift.shift)
            del nodes[relu]
        return chain.with_nodes(*nodes)


def _layer_and_relu(nodes: list[Node], position: int) -> tuple[int, int] | None:
    """Where the layer and its ReLU stand, with nothing but max pooling behind them."""
    index = position - 1
    relu = None
    while index >= 0:
        node = nodes[index]
        if isinstance(node, Activation) and node.kind == "relu" and relu is None:
            relu = index
        elif isinstance(node, Conv2D | DepthwiseConv2D | Dense):
            return None if relu is None else (index, relu)
        elif not isinstance(node, MaxPool2D):
            return None
        index -= 1
    return None
