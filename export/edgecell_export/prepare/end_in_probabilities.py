"""Puts the head into the graph, for readers that expect probabilities from it.

The opposite of ``EndInLogits``, with the temperature: one probability a label, whatever the head.
"""

import numpy as np

from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    DivideBySum,
    Node,
    Rescale,
)
from edgecell_runtime.heads import Head


class EndInProbabilities(Pass):
    """Appends the head: logits (n, outputs) to probabilities (n, labels)."""

    name = "end-in-probabilities"

    def __init__(self, head: Head, labels: tuple[str, ...], temperature: float) -> None:
        self._head, self._labels, self._temperature = head, labels, temperature

    def rewrite(self, chain: Chain) -> Chain:
        """Scales the last layer by the temperature and appends the head."""
        return chain.with_nodes(*_divided(chain.nodes, self._temperature), *self._head_nodes())

    def expected(self, answers: Array) -> Array:
        """The head's own answer."""
        return self._head.probabilities(answers, self._labels, self._temperature)

    def _head_nodes(self) -> list[Node]:
        if self._head.kind == "normalised_sigmoid":
            return [Activation("sigmoid"), DivideBySum()]
        if self._head.kind == "sigmoid":  # the softmax of x and 0 is sigmoid(x) and the rest
            kernel = np.array([[float(label == self._head.label) for label in self._labels]])
            return [Dense(kernel, np.zeros(len(self._labels)), "both"), Activation("softmax")]
        return [Activation("softmax")]


def _divided(nodes: tuple[Node, ...], temperature: float) -> tuple[Node, ...]:
    if temperature == 1:
        return nodes
    last = nodes[-1] if nodes else None
    if isinstance(last, Conv2D | DepthwiseConv2D | Dense):
        every = np.full_like(last.bias, 1 / temperature)
        return (*nodes[:-1], last.scale_outputs(every, np.zeros_like(every)))
    return (*nodes, Rescale(1 / temperature, 0.0))
