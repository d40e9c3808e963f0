"""Figures on held-out images, each with its 95 % interval over patients.

Cells of one patient share a slide, a stain and a microscope, so that they are right or wrong
together. An interval that took each image as a witness of its own would be too narrow. Hence whole
patients are drawn: the cluster bootstrap (Efron & Tibshirani 1993, "An Introduction to the
Bootstrap"; Field & Welsh 2007, "Bootstrapping clustered data").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import metrics
from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.manifest import Evaluation, Figure

_BOUNDS = (0.025, 0.975)
_CELLS_AT_ONCE = 1 << 18
"""Resamples are drawn in blocks of about this many multiplicities, so that they fit a cache."""


def evaluate(  # noqa: PLR0913 - the last two have defaults that hardly anyone changes
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    patients: Sequence[str | None],
    *,
    labels: Sequence[str],
    positive_label: str | None,
    threshold: float,
    seed: int = 0,
    resamples: int = 2000,
) -> Evaluation:
    """Measures how right a model is, and how sure that is.

    The intervals are the 2.5th and 97.5th percentile over resamples of a cluster bootstrap: whole
    patients are drawn with replacement, an image without a patient on its own. A resample in which
    a figure has no meaning, because no positive was drawn, is left out of that figure's interval.

    Where fewer than two patients have images that a figure counts (positives for the sensitivity,
    negatives for the specificity, each of them for the AUC), the sample says nothing about other
    patients, and the interval is 0 to 1. Known limit: where every image is right, so is every
    resample, and the interval has no width.

    Args:
        truth: int (n,), index of each image's label, 0 to len(labels) - 1.
        probabilities: float (n, len(labels)), 0-1, in the order of the labels.
        patients: (n,), each image's patient; None where it is unknown.
        labels: In the order of the model's classes.
        positive_label: The class that a positive decision means; None gives the accuracy alone.
        threshold: An image is positive at this probability of the positive label or above, 0-1.
            The accuracy goes by the most probable label instead.
        seed: Of the drawing; the same seed gives the same intervals.
        resamples: How many are drawn, 1 or more.

    Returns:
        The figures. Sensitivity, specificity and AUC are None without a positive label, or where
        a class that they need has no images.

    Raises:
        UsageError: The arguments contradict each other.
        DataError: There are no images, or a probability is not between 0 and 1.
    """
    truth, by_label = np.asarray(truth), np.asarray(probabilities, dtype=np.float64)
    _check_data(truth, by_label, patients, len(labels))
    _check_options(labels, positive_label, threshold, resamples)
    groups = _Groups.of(patients)
    statistics: list[_Statistic] = [_accuracy(groups, truth, by_label)]
    if positive_label is not None:
        positive = labels.index(positive_label)
        statistics += _binary(groups, truth == positive, by_label[:, positive], threshold)
    figures = _figures(groups, statistics, seed, resamples)
    accuracy = figures[0]
    assert accuracy is not None, "there is at least one image"
    return Evaluation(len(truth), groups.patients, accuracy, *figures[1:])


@dataclass(frozen=True, eq=False)
class _Groups:
    """Which images are drawn together.

    Attributes:
        of_image: int (n,), the group of each image.
        count: Number of groups.
        patients: Number of groups that are a patient and not a lone image.
    """

    of_image: NDArray[np.intp]
    count: int
    patients: int

    @staticmethod
    def of(patients: Sequence[str | None]) -> "_Groups":
        """Groups images by patient; an image without one is a group of its own."""
        numbers: dict[str | int, int] = {}
        of_image = [
            numbers.setdefault(image if patient is None else patient, len(numbers))
            for image, patient in enumerate(patients)
        ]
        named = sum(isinstance(key, str) for key in numbers)
        return _Groups(np.array(of_image, dtype=np.intp), len(numbers), named)

    def totals(self, marked: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Marked images of each group: bool (n,) -> float64 (groups,), whole numbers."""
        return np.bincount(self.of_image[marked], minlength=self.count).astype(np.float64)

    def draws(self, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
        """Draws as many groups as there are, with replacement, ``resamples`` times.

        Yields:
            int64 (some resamples, groups), how often each group was drawn.
        """
        generator = np.random.default_rng(seed)
        at_once = max(1, _CELLS_AT_ONCE // len(self.of_image))
        for done in range(0, resamples, at_once):
            rows = min(at_once, resamples - done)
            drawn = generator.integers(self.count, size=(rows, self.count))
            drawn += np.arange(rows)[:, np.newaxis] * self.count
            flat = np.bincount(drawn.ravel(), minlength=rows * self.count)
            yield flat.reshape(rows, self.count)


class _Statistic(Protocol):
    """One figure, on the images themselves and on resamples of them."""

    @property
    def value(self) -> float | None:
        """On the images themselves; None where it has no meaning."""

    def has_spread(self) -> bool:
        """Whether at least two groups have images that count, so that there is an interval."""

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """On resamples: int64 (resamples, groups) -> float64 (resamples,), NaN where undefined."""


@dataclass(frozen=True, eq=False)
class _Share:
    """A share of images: the marked ones among those that count.

    Attributes:
        value: On the images themselves; None where none counts.
        part: float64 (groups,), images of each group that are marked and count.
        whole: float64 (groups,), images of each group that count.
    """

    value: float | None
    part: NDArray[np.float64]
    whole: NDArray[np.float64]

    def has_spread(self) -> bool:
        return bool(np.count_nonzero(self.whole) > 1)

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        part, whole = draws @ self.part, draws @ self.whole
        shares = np.full(len(draws), np.nan)
        np.divide(part, whole, out=shares, where=whole > 0)
        return shares


@dataclass(frozen=True, eq=False)
class _Auc:
    """The area under the ROC curve.

    Attributes:
        value: On the images themselves; None where they are of one class.
        ranking: Their scores, sorted.
        groups: Which images are drawn together.
    """

    value: float | None
    ranking: metrics.ScoreRanking
    groups: _Groups

    def has_spread(self) -> bool:
        positive = np.empty_like(self.ranking.positive)
        positive[self.ranking.order] = self.ranking.positive
        totals = (self.groups.totals(positive), self.groups.totals(~positive))
        return all(np.count_nonzero(total) > 1 for total in totals)

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.ranking.auc(np.take(draws, self.groups.of_image, axis=1))


def _accuracy(
    groups: _Groups, truth: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> _Statistic:
    predicted = probabilities.argmax(axis=1)
    right = predicted == truth
    return _Share(
        metrics.accuracy(truth, predicted),
        groups.totals(right),
        groups.totals(np.ones_like(right)),
    )


def _binary(
    groups: _Groups,
    is_positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    threshold: float,
) -> list[_Statistic]:
    """Sensitivity, specificity and AUC, in the order of ``Evaluation``."""
    decided = score >= threshold
    counts = metrics.count(is_positive, decided)
    return [
        _Share(
            metrics.sensitivity(counts),
            groups.totals(is_positive & decided),
            groups.totals(is_positive),
        ),
        _Share(
            metrics.specificity(counts),
            groups.totals(~is_positive & ~decided),
            groups.totals(~is_positive),
        ),
        _Auc(
            metrics.rank_auc(is_positive, score),
            metrics.ScoreRanking.of(is_positive, score),
            groups,
        ),
    ]


def _figures(
    groups: _Groups, statistics: Sequence[_Statistic], seed: int, resamples: int
) -> list[Figure | None]:
    """Each statistic with its interval; all from the same resamples."""
    # scipy.stats.bootstrap draws single observations and calls back for each statistic: over
    # groups of unequal size it would hold resamples x images values, and draw anew each time.
    blocks = [
        [statistic.resampled(draws) for statistic in statistics]
        for draws in groups.draws(seed, resamples)
    ]
    return [
        _figure(statistic, np.concatenate(values))
        for statistic, values in zip(statistics, zip(*blocks, strict=True), strict=True)
    ]


def _figure(statistic: _Statistic, resampled: NDArray[np.float64]) -> Figure | None:
    if statistic.value is None:
        return None
    defined = resampled[~np.isnan(resampled)]
    if not statistic.has_spread() or defined.size == 0:
        return Figure(statistic.value, 0.0, 1.0)
    low, high = np.quantile(defined, _BOUNDS)
    return Figure(statistic.value, float(low), float(high))


def _check_data(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    patients: Sequence[str | None],
    n_labels: int,
) -> None:
    n = len(patients)
    if truth.shape != (n,) or probabilities.shape != (n, n_labels):
        raise UsageError(
            f"truth has the shape {truth.shape} and probabilities {probabilities.shape}; for "
            f"{n} patients' entries and {n_labels} labels, expected ({n},) and ({n}, {n_labels})."
        )
    if n == 0:
        raise DataError("There are no images to evaluate; give at least one.")
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= n_labels:
        raise UsageError(
            f"truth holds {truth.dtype} values from {truth.min()} to {truth.max()}; expected "
            f"integer label indices from 0 to {n_labels - 1}."
        )
    wrong = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"The model's answer to {np.count_nonzero(wrong)} of {n} images is no probability; "
            f"the first is image {first}, {probabilities[first].tolist()}. Expected values from 0 "
            "to 1; check that the training converged and that the head is the model's own."
        )


def _check_options(
    labels: Sequence[str], positive_label: str | None, threshold: float, resamples: int
) -> None:
    if positive_label is not None and positive_label not in labels:
        raise UsageError(
            f"The positive label {positive_label!r} is not a label; expected one of "
            f"{', '.join(labels)}."
        )
    if not 0 <= threshold <= 1:
        raise UsageError(f"The threshold is {threshold}; expected 0 to 1.")
    if resamples < 1:
        raise UsageError(f"The number of resamples is {resamples}; expected 1 or more.")
