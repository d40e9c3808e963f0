"""Ends the graph in logits: the head outside of it takes over the last activation.

A sigmoid or softmax inside an 8-bit graph has steps of 1/256, which is coarse near a threshold.
"""

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import Activation, ActivationKind
from edgecell_runtime.errors import PreparationError
from edgecell_runtime.heads import Head, HeadKind

ACTIVATION_OF: dict[HeadKind, ActivationKind] = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "normalised_sigmoid": "sigmoid",
}
"""What a model of a head ends in."""


class EndInLogits(Pass):
    """Removes the last activation, which has to be the head's."""

    name = "end-in-logits"

    def __init__(self, head: Head) -> None:
        self._activation = Activation(ACTIVATION_OF[head.kind])

    def requires(self, chain: Chain) -> None:
        """The chain ends in the head's activation."""
        last = chain.nodes[-1] if chain.nodes else None
        found = last.kind if isinstance(last, Activation) else "no activation"
        if found != self._activation.kind:
            raise PreparationError(
                f"The model ends in {found}, its head expects {self._activation.kind}; "
                "export it with the head that it was trained with."
            )

    def rewrite(self, chain: Chain) -> Chain:
        """Drops the last node."""
        return chain.with_nodes(*chain.nodes[:-1])

    def comparable(self, chain: Chain) -> Chain:
        """Puts the activation back."""
        return chain.with_nodes(*chain.nodes, self._activation)
