"""Heads: how a graph's outputs become probabilities.

Graphs end in logits unless asked otherwise, and the head is applied outside of them in float64: a
sigmoid or softmax inside a quantised graph has steps of 1/256.
"""

import math
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.records import dataclass

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

    def of_one(
        self, logits: Sequence[float], labels: tuple[str, ...], temperature: float = 1.0
    ) -> list[float]:
        """Turns one image's logits into probabilities.

        In plain Python: for two labels NumPy takes longer than the whole call around it may.

        Args:
            logits: What the graph answers, one number an output.
            labels: The labels, in the order of the outputs.
            temperature: Divides the logits (Guo et al. 2017); 1 changes nothing.

        Returns:
            One probability a label, summing to 1.
        """
        if self.kind == "probabilities":
            return _shares([max(value, sys.float_info.min) for value in logits])
        scaled = [value / temperature for value in logits]
        if self.kind == "softmax":
            return _softmax(scaled)
        if self.kind == "normalised_sigmoid":
            # From the logarithms: no underflow where every sigmoid is near zero.
            return _softmax([_log_sigmoid(value) for value in scaled])
        of_label = math.exp(_log_sigmoid(scaled[0]))
        return [of_label if label == self.label else 1.0 - of_label for label in labels]

    def probabilities(
        self, logits: NDArray[np.floating], labels: tuple[str, ...], temperature: float = 1.0
    ) -> NDArray[np.float64]:
        """Turns the logits of many images into probabilities; see ``of_one``.

        Args:
            logits: float, shape (n, outputs): what the graph answers.
            labels: The labels, in the order of the outputs.
            temperature: Divides the logits.

        Returns:
            float64, shape (n, len(labels)), rows summing to 1.
        """
        rows = np.asarray(logits, dtype=np.float64).tolist()
        answers = [self.of_one(row, labels, temperature) for row in rows]
        return np.array(answers, dtype=np.float64).reshape(len(rows), len(labels))


def _log_sigmoid(value: float) -> float:
    if value >= 0:
        return -math.log1p(math.exp(-value))
    return value - math.log1p(math.exp(value))


def _softmax(values: list[float]) -> list[float]:
    largest = max(values)
    return _shares([math.exp(value - largest) for value in values])


def _shares(values: list[float]) -> list[float]:
    total = sum(values)
    return [value / total for value in values]
