"""Plots of decisions and of probabilities: ROC, precision-recall, reliability."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import metrics
from edgecell_train.drawing import (
    CHANCE,
    CHOSEN,
    TRAINING,
    VALIDATION,
    Axes,
    panels,
    png,
    shared_legend,
    titled,
)
from edgecell_train.figures import CALIBRATION_BINS, confidence_bins

_FEW_IMAGES: Final = 10
"""Chance moves a share among fewer far: it is drawn as a hollow point, or not at all."""


def decisions(
    is_positive: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> bytes:
    """The ROC and the precision-recall curve with the chosen threshold marked, as PNG.

    Args:
        is_positive: bool (n,), True and False both among them.
        score: float64 (n,), the positive label's probability.
        threshold: An image is decided to be positive at this probability or above.
    """
    figure, (left, right) = panels(2, height=5.0)
    counts = metrics.count(is_positive, score >= threshold)
    sensitivity, specificity = metrics.sensitivity(counts), metrics.specificity(counts)
    assert sensitivity is not None
    assert specificity is not None
    precision = metrics.precision(counts)
    words = f"threshold {threshold:.3g}: sensitivity {sensitivity:.3f}"
    words += f", specificity {specificity:.3f}"
    words += "" if precision is None else f", precision {precision:.3f}"
    _roc(left, is_positive, score)
    _mark(left, 1 - specificity, sensitivity, words)
    recalls, precisions = precision_curve(is_positive, score)
    right.axhline(is_positive.mean(), linestyle="--", color=CHANCE, linewidth=1)
    right.plot(recalls, precisions, color=TRAINING)
    if precision is not None:
        _mark(right, sensitivity, precision)
    titled(right, "Precision and recall", "Recall (sensitivity)", "Precision")
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    shared_legend(figure, left, columns=3)
    return png(figure)


def precision_curve(
    is_positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision by threshold, from where ten images count as positive on.

    Below that, one image more or less moves the precision from one end of the axis to the other.

    Args:
        is_positive: bool (n,), True and False both among them.
        score: float64 (n,), the positive label's probability.

    Returns:
        Two of float64 (thresholds,), the recall falling.
    """
    from sklearn.metrics import precision_recall_curve

    precisions, recalls, thresholds = precision_recall_curve(is_positive, score)
    taken = len(score) - np.searchsorted(np.sort(score), thresholds, side="left")
    drawn = taken >= min(_FEW_IMAGES, len(score))
    # The last pair, precision 1 at recall 0, stands for no threshold.
    return recalls[:-1][drawn], precisions[:-1][drawn]


def _roc(axes: Axes, is_positive: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(is_positive, score)
    axes.plot([0, 1], [0, 1], "--", color=CHANCE, linewidth=1, label="chance")
    axes.plot(false_positive, true_positive, color=TRAINING, label="test images")
    titled(axes, "ROC", "1 - specificity", "Sensitivity")


def reliability(truth: NDArray[np.integer], answers: Mapping[str, NDArray[np.float64]]) -> bytes:
    """How often labels are right, by the probability that was given to them, as PNG.

    Args:
        truth: int (n,), index of each image's label.
        answers: float64 (n, labels) each, by name, such as before and after the temperature; two at
            most.
    """
    figure, (left, right) = panels(2, height=3.9)
    lowest = 1 / next(iter(answers.values())).shape[1]
    left.plot([lowest, 1], [lowest, 1], "--", color=CHANCE, linewidth=1, label="as said")
    widths = np.linspace(0, 1, CALIBRATION_BINS + 1)
    looks = ((TRAINING, "o"), (VALIDATION, "s"))
    for (name, probabilities), (color, marker) in zip(answers.items(), looks, strict=False):
        confidence = probabilities.max(axis=1)
        right_labels = probabilities.argmax(axis=1) == truth
        _reliability_curve(left, confidence, right_labels, {"color": color, "marker": marker}, name)
        # Shifted by nothing: an image on an edge belongs to the bin below, as in the figure.
        counts = np.bincount(confidence_bins(confidence), minlength=CALIBRATION_BINS)
        right.stairs(counts, widths, color=color, linewidth=1.5)
    titled(left, "Reliability", "Probability of the label given", "Share that is right")
    titled(right, "How often it is so sure", "Probability of the label given", "Images")
    right.set_yscale("log")
    right.set_ylim(bottom=0.8)
    for axes in (left, right):
        axes.set_xlim(lowest - 0.02, 1.02)
    shared_legend(figure, left, columns=3)
    return png(figure)


def _reliability_curve(
    axes: Axes,
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    look: Mapping[str, Any],
    name: str,
) -> None:
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    said, found = (
        np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)[filled] / counts[filled]
        for values in (confidence, right.astype(np.float64))
    )
    few = counts[filled] < _FEW_IMAGES
    axes.plot(said, found, color=look["color"], linewidth=1.2)
    axes.plot(said[~few], found[~few], linestyle="", **look, markersize=5, label=name)
    axes.plot(said[few], found[few], linestyle="", **look, markersize=5, markerfacecolor="white")


def _mark(axes: Axes, x: float, y: float, words: str | None = None) -> None:
    axes.plot([x], [y], "o", color=CHOSEN, markersize=7, label=words)
