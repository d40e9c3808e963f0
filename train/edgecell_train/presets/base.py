"""What a preset says: a model, how to train it, and where it was published."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgecell_runtime.heads import Head
from edgecell_runtime.preprocess import PreprocessSpec

KerasModel = Any
"""``keras.Model``; Keras ships no types that mypy can follow."""


@dataclass(frozen=True)
class Preset:
    """A named model and its training recipe.

    Attributes:
        name: As given to ``--preset``.
        summary: One line for people.
        published: Where the model and its recipe come from.
        preprocessing: The pixels that it takes.
        head: How its outputs become probabilities.
        epochs: Of its recipe.
        batch_size: Of its recipe.
        build: Makes the model, compiled, for a number of labels.
    """

    name: str
    summary: str
    published: str
    preprocessing: PreprocessSpec
    head: Head
    epochs: int
    batch_size: int
    build: Callable[[int], KerasModel]
