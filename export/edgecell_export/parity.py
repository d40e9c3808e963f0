"""Parity: does the artifact give the source model's answers, from the image file on?"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_export.known_images import read_known
from edgecell_export.source import Answer, Evidence
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import ExportError, ParityError
from edgecell_runtime.manifest import Parity, ParityLimits

SAMPLE = 1024
"""So many that the share of changed labels is known to a few tenths of a point."""

MINIMUM_SAMPLE = 50

_NEAR = 16
"""Images nearest to the threshold, on which the coarseness of the probability is measured."""


def parity_sample(evidence: Evidence) -> list[Answer]:
    """Picks the held-out images that parity is judged on, the same for the same seed.

    Raises:
        ExportError: There are too few to judge by.
    """
    held_out = sorted(evidence.held_out, key=lambda answer: answer.image.name)
    if len(held_out) < MINIMUM_SAMPLE:
        raise ExportError(
            f"The run held out {len(held_out)} images; parity needs at least {MINIMUM_SAMPLE}. "
            "Train on more images."
        )
    order = np.random.default_rng(evidence.seed).permutation(len(held_out))
    return [held_out[i] for i in order[:SAMPLE]]


def measure_parity(
    classifier: Classifier, evidence: Evidence, sample: Sequence[Answer], limits: ParityLimits
) -> Parity:
    """Feeds image files through the artifact and compares with the stored answers.

    Raises:
        DataError: An image is gone or was changed.
        EngineError: The engine failed.
    """
    expected = np.array([answer.probabilities for answer in sample])
    found = np.empty_like(expected)
    for row, answer in enumerate(sample):
        prediction = classifier.predict(read_known(evidence.images, answer.image))
        found[row] = [prediction.probabilities[label] for label in classifier.labels]
    truth = np.array([classifier.labels.index(answer.image.label) for answer in sample])
    step = _probability_step(classifier, evidence, sample, found)
    return dataclasses.replace(compare(expected, found, truth, limits), probability_step=step)


def compare(
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
    truth: NDArray[np.intp],
    limits: ParityLimits,
) -> Parity:
    """Compares answers to the same images.

    Args:
        expected: float64 (n, labels), the source model's probabilities.
        found: float64 (n, labels), the artifact's.
        truth: int (n,), index of the true label.
        limits: What is allowed; it is only noted.
    """
    differences = np.abs(found - expected).max(axis=1)
    before, after = expected.argmax(axis=1), found.argmax(axis=1)
    return Parity(
        sample=len(truth),
        limits=limits,
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        changed_labels=float(np.mean(before != after)),
        accuracy_change=float(np.mean(after == truth) - np.mean(before == truth)),
    )


def require_parity(parity: Parity) -> None:
    """Closes the door on an artifact that answers differently.

    A share that is allowed is rounded up to whole images: of 50, one may always change.

    Raises:
        ParityError: A limit is exceeded; the message holds all figures.
    """
    limits = parity.limits
    broken = []
    if _above(parity.largest_difference, limits.largest_difference):
        broken.append(
            f"a probability differs by {parity.largest_difference:.2e} (at most "
            f"{limits.largest_difference:.0e})"
        )
    if _above(parity.changed_labels, _whole(limits.changed_labels, parity.sample)):
        broken.append(
            f"{parity.changed_labels:.2%} of the labels change (at most "
            f"{limits.changed_labels:.2%})"
        )
    if _above(-parity.accuracy_change, _whole(limits.accuracy_drop, parity.sample)):
        broken.append(
            f"accuracy falls by {-parity.accuracy_change * 100:.2f} points (at most "
            f"{limits.accuracy_drop:.2%})"
        )
    if broken:
        raise ParityError(
            f"The converted model does not give the source model's answers on {parity.sample} "
            f"held-out images: {'; '.join(broken)}. Largest difference of a probability "
            f"{parity.largest_difference:.4f}, mean {parity.mean_difference:.4f}, labels changed "
            f"{parity.changed_labels:.2%}, accuracy {parity.accuracy_change * 100:+.2f} points. "
            "No file was written; let --recipe auto choose, train longer, or allow more with "
            "--tolerance N, which the file will say of itself."
        )


def _whole(share: float | None, sample: int) -> float | None:
    """The share of so many images that is not below another one, by whole images."""
    return None if share is None else math.ceil(share * sample - 1e-9) / sample + 1e-12


def _above(value: float, limit: float | None) -> bool:
    """Whether a limit is set and exceeded; a value that is no number exceeds every limit."""
    return limit is not None and not value <= limit


def _probability_step(
    classifier: Classifier,
    evidence: Evidence,
    sample: Sequence[Answer],
    found: NDArray[np.float64],
) -> float | None:
    """Largest change of a probability by one step of one output, nearest to the threshold."""
    manifest = classifier.manifest
    quantization = manifest.signature.outputs[0].quantization
    if quantization is None:
        return None
    watched = manifest.labels.index(manifest.positive_label or manifest.labels[0])
    nearest = np.argsort(np.abs(found[:, watched] - manifest.threshold), kind="stable")[:_NEAR]
    largest = 0.0
    for row in nearest:
        pixels = manifest.preprocessing.apply(read_known(evidence.images, sample[row].image))
        logits = classifier.logits(pixels[None])
        for output in range(logits.shape[1]):
            for step in (-quantization.scale, quantization.scale):
                moved = logits.copy()
                moved[0, output] += step
                both = manifest.head.probabilities(
                    np.concatenate([logits, moved]), manifest.labels, manifest.temperature
                )
                largest = max(largest, float(abs(both[1, watched] - both[0, watched])))
    return largest
