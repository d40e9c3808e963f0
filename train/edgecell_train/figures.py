"""The figures of an evaluation, each as a statistic that can be resampled by patient."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import metrics
from edgecell_train.bootstrap import Groups, Statistic

CALIBRATION_BINS: Final = 15
"""Of equal width, as in Guo et al. 2017, so that figures can be compared with published ones."""


@dataclass(frozen=True, eq=False)
class Ratio:
    """A sum over images by another one, such as the share of images that are right.

    Attributes:
        value: On the images themselves; None where the divisor is 0.
        part: float64 (groups,), what is divided, summed over each group's images.
        whole: float64 (groups,), what it is divided by.
    """

    value: float | None
    part: NDArray[np.float64]
    whole: NDArray[np.float64]

    @staticmethod
    def of(part: NDArray[np.float64], whole: NDArray[np.float64]) -> "Ratio":
        """The ratio of two totals; see ``Groups.totals``."""
        divisor = whole.sum()
        return Ratio(float(part.sum() / divisor) if divisor > 0 else None, part, whole)

    def has_spread(self) -> bool:
        """Whether at least two groups count."""
        return bool(np.count_nonzero(self.whole) > 1)

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``Statistic``."""
        return _shares(draws @ self.part, draws @ self.whole)


@dataclass(frozen=True, eq=False)
class RankFigure:
    """The area under the ROC curve, or the average precision.

    Attributes:
        ranking: The scores, sorted.
        groups: Which images are drawn together.
        negative: float64 (groups,), images of each group that are negative.
        positive: float64 (groups,), those that are positive.
        precision: Whether it is the average precision.
    """

    ranking: metrics.ScoreRanking
    groups: Groups
    negative: NDArray[np.float64]
    positive: NDArray[np.float64]
    precision: bool = False

    @property
    def value(self) -> float | None:
        """On the images themselves; None where a class has none of them."""
        value = float(self.resampled(np.ones((1, self.groups.count), dtype=np.int64))[0])
        return None if np.isnan(value) else value

    def has_spread(self) -> bool:
        """Whether each class has images of at least two groups."""
        return all(np.count_nonzero(total) > 1 for total in (self.positive, self.negative))

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``Statistic``."""
        weights = np.take(draws, self.groups.of_image, axis=1)
        if not self.precision:
            return self.ranking.auc(weights)
        # Without a negative every threshold has the precision 1, which says nothing.
        one_class = draws @ self.negative == 0
        return np.where(one_class, np.nan, self.ranking.average_precision(weights))


@dataclass(frozen=True, eq=False)
class MacroF1:
    """Mean of the labels' F1, over the labels that are or were said to be there.

    Attributes:
        part: float64 (groups, labels), twice the images of a label that were given it.
        whole: float64 (groups, labels), images of a label and images that were given it.
    """

    part: NDArray[np.float64]
    whole: NDArray[np.float64]

    @property
    def value(self) -> float:
        """On the images themselves."""
        return float(self._of(self.part.sum(axis=0), self.whole.sum(axis=0)))

    def has_spread(self) -> bool:
        """Whether there are at least two groups."""
        return len(self.part) > 1

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``Statistic``."""
        return self._of(draws @ self.part, draws @ self.whole)

    def _of(self, part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.nanmean(_shares(part, whole), axis=-1)
        return mean


@dataclass(frozen=True, eq=False)
class CalibrationError:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017).

    Images are binned by the probability of their most probable label. The error is the mean over
    the images of how far the share of right labels in a bin is from the mean probability there.

    Attributes:
        excess: float64 (groups, bins), right labels minus probabilities, summed over a bin.
        images: float64 (groups,).
    """

    excess: NDArray[np.float64]
    images: NDArray[np.float64]

    @property
    def value(self) -> float:
        """On the images themselves."""
        return float(np.abs(self.excess.sum(axis=0)).sum() / self.images.sum())

    def has_spread(self) -> bool:
        """Whether there are at least two groups."""
        return len(self.images) > 1

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``Statistic``."""
        error: NDArray[np.float64] = np.abs(draws @ self.excess).sum(axis=1)
        return error / (draws @ self.images)


def of_labels(
    groups: Groups, truth: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> dict[str, Statistic]:
    """The figures that need no positive label, by their names in ``Evaluation``.

    Args:
        groups: Which images are drawn together.
        truth: int (n,), index of each image's label.
        probabilities: float64 (n, labels), 0-1.
    """
    predicted = probabilities.argmax(axis=1)
    images = groups.totals(np.ones(len(truth)))
    return {
        "accuracy": Ratio.of(groups.totals(predicted == truth), images),
        "brier": Ratio.of(groups.totals(squared_errors(truth, probabilities)), images),
        "calibration_error": _calibration_error(groups, truth, probabilities),
    }


def of_decisions(
    groups: Groups, is_positive: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> dict[str, Statistic]:
    """The figures of a positive label, by their names in ``Evaluation``.

    Args:
        groups: Which images are drawn together.
        is_positive: bool (n,), whether an image shows the positive label.
        score: float64 (n,), the positive label's probability.
        threshold: An image is decided to be positive at this probability or above.
    """
    decided = score >= threshold
    found = groups.totals(is_positive & decided)
    positive, negative = groups.totals(is_positive), groups.totals(~is_positive)
    said = groups.totals(decided)
    ranking = metrics.ScoreRanking.of(is_positive, score)
    return {
        "sensitivity": Ratio.of(found, positive),
        "specificity": Ratio.of(
            groups.totals(~is_positive & ~decided), groups.totals(~is_positive)
        ),
        "auc": RankFigure(ranking, groups, negative, positive),
        "precision": Ratio.of(found, said),
        "f1": Ratio.of(2 * found, positive + said),
        "average_precision": RankFigure(ranking, groups, negative, positive, precision=True),
    }


def macro_f1(
    groups: Groups, truth: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> Statistic:
    """The mean F1 over the labels; see ``of_labels`` for the arguments."""
    predicted = probabilities.argmax(axis=1)
    labels = range(probabilities.shape[1])
    part = [2 * groups.totals((truth == i) & (predicted == i)) for i in labels]
    whole = [groups.totals(truth == i) + groups.totals(predicted == i) for i in labels]
    return MacroF1(np.stack(part, axis=1), np.stack(whole, axis=1))


def squared_errors(
    truth: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each image: half the squared distance of its probabilities to the truth, 0-1.

    Their mean is the Brier score (Brier 1950), halved so that for two labels it is the mean squared
    error of one label's probability, which is how it is mostly given.

    Args:
        truth: int (n,), index of each image's label.
        probabilities: float64 (n, labels), 0-1.

    Returns:
        float64 (n,).
    """
    distances = probabilities - np.eye(probabilities.shape[1])[truth]
    errors: NDArray[np.float64] = np.square(distances).sum(axis=1) / 2
    return errors


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each probability, ``CALIBRATION_BINS`` of equal width, each with its upper end.

    Args:
        confidence: float64 (n,), 0-1.

    Returns:
        int (n,), from 0 on.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    return np.searchsorted(edges, confidence, side="left")


def _calibration_error(
    groups: Groups, truth: NDArray[np.integer], probabilities: NDArray[np.float64]
) -> Statistic:
    confidence = probabilities.max(axis=1)
    excess = (probabilities.argmax(axis=1) == truth) - confidence
    bins = confidence_bins(confidence)
    binned = [
        groups.totals(np.where(bins == index, excess, 0.0)) for index in range(CALIBRATION_BINS)
    ]
    return CalibrationError(np.stack(binned, axis=1), groups.totals(np.ones(len(truth))))


def _shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
