"""Folds the rescaling of pixels into the first layer, so that the graph takes them as they are."""

import dataclasses

import numpy as np

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain, Graph
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import (
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Node,
    Rescale,
    Shift,
    ZeroPad2D,
)


class FoldRescaling(Pass):
    """Moves a leading ``Rescale`` into the kernel of the first layer.

    A factor commutes with zero padding and with a Reshape; an offset does not, and is left in front
    of it as a ``Shift``.
    """

    name = "fold-rescaling"

    def rewrite(self, chain: Chain) -> Chain:
        """Moves the first ``Rescale`` as far back as it goes; a Reshape may stand before it."""
        nodes = list(chain.nodes)
        position = next((i for i, node in enumerate(nodes) if not _only_reshapes(node)), 0)
        while position < len(nodes) - 1 and isinstance(rescale := nodes[position], Rescale):
            following = nodes[position + 1]
            moved = _over(rescale, following, channels=chain.input_shape[-1])
            if moved is None:
                break
            nodes[position : position + 2] = moved
            position += moved.index(next((n for n in moved if isinstance(n, Rescale)), moved[0]))
        return chain.with_nodes(*nodes)


def _over(rescale: Rescale, node: Node, *, channels: int) -> list[Node] | None:
    """What the two become once the ``Rescale`` has moved on; None where it cannot."""
    scale, offset = rescale.scale, rescale.offset
    moved: list[Node] | None = None
    match node:
        case Affine():
            moved = [Affine(node.scale * scale, node.shift + node.scale * offset, node.name)]
        case Rescale():
            moved = [Rescale(scale * node.scale, offset * node.scale + node.offset)]
        case _ if not scale:
            pass
        case Shift():
            moved = [Shift((node.shift + offset) / scale), Rescale(scale, 0.0)]
        case _ if offset and _pads(node):
            moved = [Shift(np.full(channels, offset / scale)), Rescale(scale, 0.0), node]
        case Conv2D() | DepthwiseConv2D() | Dense():
            every = np.ones(_inputs(node))
            moved = [node.shift_inputs(offset * every).scale_inputs(scale * every)]
        case Flatten() | ZeroPad2D() | AveragePool2D():
            moved = [node, rescale]
        case _ if _only_reshapes(node) and not offset:
            moved = [node, rescale]
        case MaxPool2D() if scale > 0:
            moved = [node, rescale]
    return moved


def _only_reshapes(node: Node) -> bool:
    return isinstance(node, KerasLayer) and node.only_reshapes


def _inputs(node: Conv2D | DepthwiseConv2D | Dense) -> int:
    """Channels that a layer is given; behind a Reshape they are not the image's."""
    return int(node.kernel.shape[0 if isinstance(node, Dense) else 2])


def _pads(node: Node) -> bool:
    """Whether the node puts zeros around what it is given."""
    return isinstance(node, ZeroPad2D) or (
        isinstance(node, Conv2D | DepthwiseConv2D) and node.padding == "same"
    )


def taking_fractions(graph: Graph) -> Graph:
    """The same graph for inputs of pixels / 255, which is what a quantised input stands for.

    A factor of 255 stays as a node where nothing can take it in.
    """

    def rescaled(chain: Chain) -> Chain:
        if chain.white is None:
            return chain
        rescale = Rescale(chain.white, 0.0)
        nodes = (rescale, *chain.nodes)
        return FoldRescaling()(dataclasses.replace(chain, nodes=nodes, white=1.0))

    return graph.map(rescaled)
