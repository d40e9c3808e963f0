"""Folds the rescaling of pixels into the first layer, so that the graph takes them as they are."""

import dataclasses

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.chain import Chain, Conv2D, Dense, Flatten, Rescale
from edgecell_runtime.errors import PreparationError


class FoldRescaling(Pass):
    """Moves a leading ``Rescale`` into the kernel of the first layer.

    A factor commutes with zero padding; an offset does not, so one is folded only where there is
    no padding.
    """

    name = "fold-rescaling"

    def rewrite(self, chain: Chain) -> Chain:
        """Folds until the first node is no ``Rescale``, or is one that cannot be folded."""
        nodes = list(chain.nodes)
        while nodes and isinstance(rescale := nodes[0], Rescale):
            index = 2 if len(nodes) > 1 and isinstance(nodes[1], Flatten) else 1
            layer = nodes[index] if index < len(nodes) else None
            if not isinstance(layer, Conv2D | Dense):
                break
            if rescale.offset and isinstance(layer, Conv2D) and layer.padding == "same":
                break
            over_inputs = tuple(range(layer.kernel.ndim - 1))
            nodes[index] = dataclasses.replace(
                layer,
                kernel=layer.kernel * rescale.scale,
                bias=layer.bias + rescale.offset * layer.kernel.sum(axis=over_inputs),
            )
            del nodes[0]
        return chain.with_nodes(*nodes)


def taking_fractions(chain: Chain) -> Chain:
    """The same chain for inputs of pixels / 255, which is what a quantised input stands for.

    Raises:
        PreparationError: The chain does not start with a layer that can take the factor in.
    """
    rescale = Rescale(chain.white, 0.0)
    folded = FoldRescaling()(Chain(chain.input_shape, (rescale, *chain.nodes), white=1.0))
    if isinstance(folded.nodes[0], Rescale):
        raise PreparationError(
            "The model's rescaling of pixels has an offset in front of a padded convolution; the "
            "8-bit recipes need one that only divides, such as Rescaling(1/255)."
        )
    return folded
