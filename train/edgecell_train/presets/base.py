"""What a preset says: a model, how to train it, and where it was published."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgecell_runtime.heads import HeadKind
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import TrainConfig

KerasModel = Any
"""``keras.Model``; Keras ships no types that mypy can follow."""


@dataclass(frozen=True)
class Preset:
    """A named model and its training recipe.

    Attributes:
        name: As given to ``--preset``.
        summary: One line for people.
        published: Where the model and its recipe come from.
        preprocessing: The pixels that it takes, at the size that it was published for.
        head: How its outputs become probabilities; ``sigmoid`` has a single output, which says the
            positive label's probability, or that of the second of two.
        recipe: How it is trained where nobody says otherwise.
        build: Makes the model, not compiled, with random weights: from the shape of one image
            (height, width, channels) and the number of labels.
    """

    name: str
    summary: str
    published: str
    preprocessing: PreprocessSpec
    head: HeadKind
    recipe: TrainConfig
    build: Callable[[tuple[int, ...], int], KerasModel]
