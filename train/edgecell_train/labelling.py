"""What a model's outputs and its pixels mean: labels, the positive one, head, size."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.presets.base import Preset

POSITIVE_BY_DEFAULT: Final = "Parasitized"

_SIDES: Final = ("depth", "height", "width")


@dataclass(frozen=True)
class Labelling:
    """How labels and outputs belong together.

    Attributes:
        labels: In the order of the model's classes.
        head: How outputs become probabilities.
    """

    labels: tuple[str, ...]
    head: Head

    def targets(self, truth: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (n, labels), one-hot; (n, 1) for ``sigmoid``, 1 where the output's label is."""
        if self.head.kind == "sigmoid":
            assert self.head.label is not None
            chosen = truth == self.labels.index(self.head.label)
            single: NDArray[np.float32] = chosen.astype(np.float32)[:, None]
            return single
        one_hot: NDArray[np.float32] = np.eye(len(self.labels), dtype=np.float32)[truth]
        return one_hot

    def are_right(
        self, truth: NDArray[np.int64], answers: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Whether the label with the highest probability is the true one, bool (n,)."""
        if self.head.kind == "sigmoid":
            right: NDArray[np.bool_] = (answers[:, 0] > 0.5) == (self.targets(truth)[:, 0] > 0.5)
            return right
        found: NDArray[np.bool_] = answers.argmax(axis=1) == truth
        return found


def positive_label(labels: tuple[str, ...], asked: str | None) -> str | None:
    """The positive label: the one asked for, ``Parasitized`` where there is one, or none.

    Raises:
        UsageError: The one asked for is no label.
    """
    if asked is None:
        return POSITIVE_BY_DEFAULT if POSITIVE_BY_DEFAULT in labels else None
    if asked not in labels:
        raise UsageError(f"--positive {asked} is none of the labels; they are {', '.join(labels)}.")
    return asked


def head_of(preset: Preset, labels: tuple[str, ...], positive: str | None) -> Head:
    """The head of a preset for these labels: a single output means the positive one.

    Raises:
        UsageError: A single output cannot tell so many labels apart.
    """
    if preset.head != "sigmoid":
        return Head(preset.head)
    if len(labels) != 2:
        raise UsageError(
            f"{preset.name} has a single output, which tells two labels apart; the images have "
            f"{len(labels)}: {', '.join(labels)}. Choose another preset."
        )
    return Head("sigmoid", positive or labels[1])


def preprocessing(preset: Preset, size: tuple[int, ...]) -> PreprocessSpec:
    """The preset's preprocessing, at another size where one is asked for.

    Raises:
        UsageError: The size is none for the preset.
    """
    spec = preset.preprocessing
    if not size:
        return spec
    sides = _SIDES[-(len(spec.shape) - 1) :]
    try:
        if len(size) != len(sides):
            raise ValueError(f"it has {len(size)} numbers.")
        *depth, height, width = size
        return dataclasses.replace(
            spec, height=height, width=width, depth=depth[0] if depth else None
        )
    except ValueError as error:
        raise UsageError(
            f"The size {' x '.join(map(str, size))} is none for {preset.name}, which takes "
            f"{' x '.join(sides)}: {error}"
        ) from error
