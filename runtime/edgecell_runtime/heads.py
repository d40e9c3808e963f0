"""Heads: how a graph's outputs become probabilities.

Graphs end in logits unless asked otherwise, and the head is applied outside of them in float64: a
sigmoid or softmax inside a quantised graph has steps of 1/256.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

HeadKind = Literal["softmax", "normalised_sigmoid", "sigmoid", "probabilities"]


@dataclass(frozen=True)
class Head:
    """How outputs become probabilities.

    Attributes:
        kind: ``softmax`` over one logit a label; ``normalised_sigmoid``, p_i / sum(p) of one
            sigmoid a label, which is what categorical cross-entropy trains on sigmoid outputs;
            ``sigmoid`` of a single logit; ``probabilities`` where the graph ends in them.
        label: For ``sigmoid``, the label whose probability the output is; else None.
    """

    kind: HeadKind
    label: str | None = None

    def __post_init__(self) -> None:
        if (self.kind == "sigmoid") != (self.label is not None):
            raise ValueError("the sigmoid head, and no other, names the label of its output.")

    def output_count(self, labels: tuple[str, ...]) -> int:
        """How many logits the graph has for these labels."""
        return 1 if self.kind == "sigmoid" else len(labels)

    def probabilities(
        self, logits: NDArray[np.floating], labels: tuple[str, ...], temperature: float = 1.0
    ) -> NDArray[np.float64]:
        """Turns logits into probabilities.

        Args:
            logits: float, shape (n, outputs): what the graph answers.
            labels: The labels, in the order of the outputs.
            temperature: Divides the logits (Guo et al. 2017); 1 changes nothing.

        Returns:
            float64, shape (n, len(labels)), rows summing to 1.
        """
        if self.kind == "probabilities":
            return _shares(np.asarray(logits, dtype=np.float64))
        scaled = np.asarray(logits, dtype=np.float64) / temperature
        if self.kind == "softmax":
            return _softmax(scaled)
        if self.kind == "normalised_sigmoid":
            # log(sigmoid(x)) = -log(1 + exp(-x)): no underflow where every sigmoid is near zero.
            return _softmax(-np.logaddexp(0.0, -scaled))
        of_label = np.exp(-np.logaddexp(0.0, -scaled[:, 0]))
        columns = [of_label if label == self.label else 1.0 - of_label for label in labels]
        return np.stack(columns, axis=1)


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Takes out what rounding left in: rows that sum to nearly 1."""
    positive = np.maximum(values, np.finfo(np.float64).tiny)
    result: NDArray[np.float64] = positive / positive.sum(axis=1, keepdims=True)
    return result


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
