"""Plain metrics of a classifier, in NumPy: counts and their shares, rank AUC, average precision.

Every figure is a fraction. One that has no meaning for a sample, such as the sensitivity without a
positive image, is None and never 0. Intervals are the business of ``edgecell_train``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """How decisions and truth meet, in images.

    Attributes:
        true_positive: Positives that were found.
        false_negative: Positives that were missed.
        true_negative: Negatives that were left alone.
        false_positive: Negatives that were taken for positives.
    """

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int


def count(truth_positive: NDArray[np.bool_], decided_positive: NDArray[np.bool_]) -> Counts:
    """Counts right and wrong decisions.

    Args:
        truth_positive: bool (n,), True where the image is of the positive class.
        decided_positive: bool (n,), True where it was decided to be.

    Raises:
        ValueError: The arrays are not two bool vectors of one length.
    """
    _check_vectors(truth_positive, decided_positive)
    if truth_positive.dtype != np.bool_ or decided_positive.dtype != np.bool_:
        # With integers, ``~`` below would flip bits and count nonsense.
        raise ValueError(
            f"truth is {truth_positive.dtype} and decisions are {decided_positive.dtype}; "
            "expected bool for both. Compare with the label or the threshold first."
        )
    return Counts(
        true_positive=int(np.count_nonzero(truth_positive & decided_positive)),
        false_negative=int(np.count_nonzero(truth_positive & ~decided_positive)),
        true_negative=int(np.count_nonzero(~truth_positive & ~decided_positive)),
        false_positive=int(np.count_nonzero(~truth_positive & decided_positive)),
    )


def accuracy(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Share of images whose label is right.

    Args:
        truth: int (n,), index of the true label.
        predicted: int (n,), index of the predicted label.

    Raises:
        ValueError: The arrays are not two vectors of one length, or are empty.
    """
    _check_vectors(truth, predicted)
    if truth.size == 0:
        raise ValueError("there are no images; the accuracy needs at least one.")
    return float(np.mean(truth == predicted))


def sensitivity(counts: Counts) -> float | None:
    """Share of positives that were found; None without positives."""
    return _fraction(counts.true_positive, counts.true_positive + counts.false_negative)


def specificity(counts: Counts) -> float | None:
    """Share of negatives that were left alone; None without negatives."""
    return _fraction(counts.true_negative, counts.true_negative + counts.false_positive)


def precision(counts: Counts) -> float | None:
    """Share of positive decisions that are right; None where none was positive."""
    return _fraction(counts.true_positive, counts.true_positive + counts.false_positive)


def f1(counts: Counts) -> float | None:
    """Harmonic mean of precision and sensitivity; None where nothing is or was decided positive."""
    wrong = counts.false_positive + counts.false_negative
    return _fraction(2 * counts.true_positive, 2 * counts.true_positive + wrong)


def confusion(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], n_labels: int
) -> NDArray[np.int64]:
    """Counts each pair of true and predicted label.

    Args:
        truth: int (n,), index of the true label, 0 to n_labels - 1.
        predicted: int (n,), index of the predicted label, in the same range.
        n_labels: Number of labels.

    Returns:
        int64 (n_labels, n_labels), true labels in rows, predicted ones in columns.

    Raises:
        ValueError: The arrays are not two vectors of one length, or hold another index.
    """
    _check_vectors(truth, predicted)
    for name, indices in (("truth", truth), ("predicted", predicted)):
        if indices.size and not (indices.min() >= 0 and indices.max() < n_labels):
            raise ValueError(
                f"{name} holds label indices from {indices.min()} to {indices.max()}; "
                f"expected 0 to {n_labels - 1}."
            )
    cells = truth.astype(np.int64) * n_labels + predicted
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels)


@dataclass(frozen=True, eq=False)
class ScoreRanking:
    """Scores sorted once, so that the AUC of many weighted samples of them is cheap.

    Attributes:
        order: int (n,), the images from the lowest score to the highest.
        starts: int (distinct scores,), where each distinct score begins in ``order``.
        positive: bool (n,), the truth, in that order.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    positive: NDArray[np.bool_]

    @staticmethod
    def of(truth_positive: NDArray[np.bool_], score: NDArray[np.floating]) -> "ScoreRanking":
        """Sorts the scores.

        Args:
            truth_positive: bool (n,), True where the image is of the positive class.
            score: float (n,), higher where the model leans to the positive class; any range.

        Raises:
            ValueError: The arrays are not two vectors of one length, or a score is NaN.
        """
        _check_vectors(truth_positive, score)
        if np.isnan(score).any():
            raise ValueError("a score is NaN, which has no rank; expected numbers.")
        order = np.argsort(score, kind="stable")
        ranked = score[order]
        is_start = np.ones(len(ranked), dtype=np.bool_)
        is_start[1:] = ranked[1:] != ranked[:-1]
        return ScoreRanking(order, np.flatnonzero(is_start), truth_positive.astype(np.bool_)[order])

    def auc(self, weights: NDArray[np.integer]) -> NDArray[np.float64]:
        """Areas under the ROC curve, one for each row of weights.

        Args:
            weights: int (samples, n), how often each image counts in each sample, 0 or more; the
                images in the order in which they were given to ``of``.

        Returns:
            float64 (samples,), 0-1; NaN where a sample has images of one class only.
        """
        if self.order.size == 0:
            return np.full(len(weights), np.nan)
        positives, negatives = self._counts(weights)
        negatives_up_to = np.cumsum(negatives, axis=1)
        # A pair counts 2 where the positive ranks higher and 1 in a tie: integers, so exact.
        doubled_wins = np.einsum("ij,ij->i", positives, 2 * negatives_up_to - negatives)
        doubled_pairs = 2 * positives.sum(axis=1) * negatives_up_to[:, -1]
        return _shares(doubled_wins, doubled_pairs)

    def average_precision(self, weights: NDArray[np.integer]) -> NDArray[np.float64]:
        """Precision averaged over the positives, one value for each row of weights.

        Each positive counts with the precision that its own score would have as the threshold;
        nothing is interpolated, as in scikit-learn.

        Args:
            weights: See ``auc``.

        Returns:
            float64 (samples,), 0-1; NaN where a sample has no positive.
        """
        if self.order.size == 0:
            return np.full(len(weights), np.nan)
        positives, negatives = self._counts(weights)
        found = np.cumsum(positives[:, ::-1], axis=1)[:, ::-1]
        decided = found + np.cumsum(negatives[:, ::-1], axis=1)[:, ::-1]
        return _shares(
            np.einsum("ij,ij->i", positives, _shares(found, decided, empty=0.0)), found[:, 0]
        )

    def _counts(self, weights: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives and negatives at each distinct score: int64 (samples, distinct scores)."""
        ranked = np.take(weights, self.order, axis=1).astype(np.int64, copy=False)
        positives = np.add.reduceat(np.where(self.positive, ranked, 0), self.starts, axis=1)
        return positives, np.add.reduceat(ranked, self.starts, axis=1) - positives


def rank_auc(
    truth_positive: NDArray[np.bool_],
    score: NDArray[np.floating],
    weights: NDArray[np.integer] | None = None,
) -> float | None:
    """Area under the ROC curve by ranks, ties counting one half (Mann & Whitney 1947).

    Args:
        truth_positive: bool (n,), True where the image is of the positive class.
        score: float (n,), higher where the model leans to the positive class; any range.
        weights: int (n,), how often each image counts, 0 or more; None counts each once.

    Returns:
        The area, 0-1; None where images of one class only count.

    Raises:
        ValueError: The arrays are not vectors of one length, a score is NaN, or a weight is
            negative or no integer.
    """
    return _of_one(ScoreRanking.of(truth_positive, score).auc(_weights(score, weights)))


def average_precision(
    truth_positive: NDArray[np.bool_],
    score: NDArray[np.floating],
    weights: NDArray[np.integer] | None = None,
) -> float | None:
    """Precision averaged over the positives; see ``ScoreRanking.average_precision``.

    Args:
        truth_positive: See ``rank_auc``.
        score: Likewise.
        weights: Likewise.

    Returns:
        The average, 0-1; None where no positive counts.

    Raises:
        ValueError: See ``rank_auc``.
    """
    ranking = ScoreRanking.of(truth_positive, score)
    return _of_one(ranking.average_precision(_weights(score, weights)))


def _weights(
    score: NDArray[np.floating], weights: NDArray[np.integer] | None
) -> NDArray[np.integer]:
    """One sample's weights, checked: int (1, n)."""
    if weights is None:
        weights = np.ones(len(score), dtype=np.int64)
    _check_vectors(score, weights)
    if weights.dtype.kind not in "iu" or (weights.size and weights.min() < 0):
        raise ValueError("the weights say how often an image counts: integers, 0 or more.")
    return weights[np.newaxis]


def _of_one(values: NDArray[np.float64]) -> float | None:
    value = float(values[0])
    return None if np.isnan(value) else value


def _shares(
    part: NDArray[np.number], whole: NDArray[np.integer], empty: float = np.nan
) -> NDArray[np.float64]:
    """Part by whole; ``empty`` where the whole is 0."""
    shares = np.full(whole.shape, empty)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _check_vectors(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"the arrays have the shapes {first.shape} and {second.shape}; "
            "expected two vectors of one length, one value for each image."
        )
