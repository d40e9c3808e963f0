"""What choices are made on: images of validation patients, and how much a candidate loses there.

Layers left in float, and recipes, are chosen here and never on test patients; those are for the
last, single comparison.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell_export.known_images import read_known
from edgecell_export.parity import compare
from edgecell_export.pixels import PixelFile
from edgecell_export.source import Evidence, SourceModel, source_probabilities
from edgecell_runtime import metrics
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import ExportError
from edgecell_runtime.manifest import Parity, ParityLimits

SAMPLE = 2000
"""So many validation images at most; 0.1 points are two of them."""

MINIMUM_SAMPLE = 50
_BATCH = 32


@dataclass(frozen=True)
class Loss:
    """What a candidate loses against the source model, on validation images.

    Attributes:
        sample: Number of images.
        points: Of sensitivity at the source's specificity, or of AUC times 100, whichever is more;
            of accuracy where there is no positive label. Below zero where it gains.
        distance: Mean over images of the largest difference of a probability.
        accuracy: The candidate's, a fraction.
    """

    sample: int
    points: float
    distance: float
    accuracy: float


@dataclass(frozen=True)
class Validation:
    """Validation images with the source model's answers.

    Attributes:
        pixels: Preprocessed.
        truth: int (n,), index of the true label.
        expected: float64 (n, labels), the source model's probabilities, at its temperature.
        positive: Index of the positive label; None where there is none.
        threshold: Decision threshold on its probability.
    """

    pixels: PixelFile
    truth: NDArray[np.intp]
    expected: NDArray[np.float64]
    positive: int | None
    threshold: float

    def answers(self, classifier: Classifier) -> NDArray[np.float64]:
        """Lets a candidate answer for all images: float64 (n, labels).

        Raises:
            EngineError: Its engine failed.
        """
        return np.concatenate([classifier.probabilities(b) for b in self.pixels.batches(_BATCH)])

    def parity(self, found: NDArray[np.float64], limits: ParityLimits) -> Parity:
        """How far a candidate's answers are from the source model's."""
        return compare(self.expected, found, self.truth, limits)

    def loss(self, found: NDArray[np.float64]) -> Loss:
        """What a candidate with these answers loses."""
        right, before = _accuracy(self.truth, found), _accuracy(self.truth, self.expected)
        return Loss(
            sample=len(self.truth),
            points=100 * (before - right) if self.positive is None else self._points(found),
            distance=float(np.abs(found - self.expected).max(axis=1).mean()),
            accuracy=right,
        )

    def _points(self, found: NDArray[np.float64]) -> float:
        is_positive = self.truth == self.positive
        before, after = self.expected[:, self.positive], found[:, self.positive]
        specificity = np.mean(before[~is_positive] < self.threshold)
        areas = [metrics.rank_auc(is_positive, score) for score in (before, after)]
        found_before = np.mean(before[is_positive] >= self.threshold)
        found_after = _sensitivity_at(float(specificity), is_positive, after)
        assert areas[0] is not None
        assert areas[1] is not None
        return 100 * max(float(found_before) - found_after, areas[0] - areas[1])


def write_validation(pixels: PixelFile, evidence: Evidence, source: SourceModel) -> Validation:
    """Picks validation images, the same for the same seed, and lets the source model answer.

    Args:
        pixels: The images are appended to it, preprocessed.
        evidence: The run's images.
        source: The trained model.

    Raises:
        ExportError: There are too few, or a class has none.
        DataError: An image is gone or was changed.
        ImageError: An image cannot be read.
    """
    known = sorted(evidence.validation, key=lambda image: image.name)
    order = np.random.default_rng(evidence.seed).permutation(len(known))
    chosen = [known[i] for i in order[:SAMPLE]]
    missing = sorted(set(source.labels) - {image.label for image in chosen})
    if len(chosen) < MINIMUM_SAMPLE or missing:
        what = f"none is {missing[0]}" if missing else f"at least {MINIMUM_SAMPLE} are needed"
        raise ExportError(
            f"The run has {len(chosen)} images of validation patients and {what}; layers and "
            "recipes are chosen on them. Train on more images."
        )
    preprocessing = source.preprocessing
    pixels.append(preprocessing.apply(read_known(evidence.images, image)) for image in chosen)
    answers = [
        source_probabilities(source.model, batch, source.head, source.labels, source.temperature)
        for batch in pixels.batches(256)
    ]
    label = source.positive_label
    return Validation(
        pixels,
        np.array([source.labels.index(image.label) for image in chosen]),
        np.concatenate(answers),
        None if label is None else source.labels.index(label),
        source.threshold,
    )


def _accuracy(truth: NDArray[np.intp], probabilities: NDArray[np.float64]) -> float:
    return metrics.accuracy(truth, probabilities.argmax(axis=1))


def _sensitivity_at(
    specificity: float, is_positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> float:
    """Share of positives above the lowest threshold that leaves so many negatives alone."""
    negatives = np.sort(score[~is_positive])
    alone = int(np.ceil(specificity * len(negatives) - 1e-9))
    threshold = negatives[alone - 1] if alone else -np.inf
    return float(np.mean(score[is_positive] > threshold))
