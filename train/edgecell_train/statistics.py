"""Figures on held-out images, each with its 95 % interval over patients."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.manifest import Evaluation
from edgecell_train import figures
from edgecell_train.bootstrap import Groups, Statistic, figure, resample


@dataclass(frozen=True, eq=False)
class Tested:
    """A model's answers on labelled images.

    Attributes:
        truth: int (n,), index of each image's label, 0 to len(labels) - 1.
        probabilities: float64 (n, len(labels)), 0-1, in the order of the labels.
        patients: (n,), each image's patient; None where it is unknown.
        labels: In the order of the model's classes.
        positive_label: The class that a positive decision means; None where there is none.
        threshold: An image is positive at this probability of the positive label or above, 0-1.

    Raises:
        UsageError: The arguments contradict each other.
        DataError: There are no images, or a probability is not between 0 and 1.
    """

    truth: NDArray[np.integer]
    probabilities: NDArray[np.float64]
    patients: Sequence[str | None]
    labels: Sequence[str]
    positive_label: str | None
    threshold: float

    def __post_init__(self) -> None:
        _check_data(self.truth, self.probabilities, len(self.patients), len(self.labels))
        _check_options(self.labels, self.positive_label, self.threshold)

    @property
    def is_positive(self) -> NDArray[np.bool_] | None:
        """Whether an image shows the positive label: bool (n,); None where there is none."""
        if self.positive_label is None:
            return None
        marked: NDArray[np.bool_] = self.truth == self.labels.index(self.positive_label)
        return marked

    @property
    def score(self) -> NDArray[np.float64] | None:
        """The positive label's probability: float64 (n,), 0-1; None where there is none."""
        if self.positive_label is None:
            return None
        return self.probabilities[:, self.labels.index(self.positive_label)]

    def only(self, wanted: NDArray[np.bool_]) -> "Tested":
        """Some of the images, such as those whose label nobody disputes.

        Args:
            wanted: bool (n,).

        Raises:
            DataError: None is wanted.
        """
        return replace(
            self,
            truth=self.truth[wanted],
            probabilities=self.probabilities[wanted],
            patients=[self.patients[i] for i in np.flatnonzero(wanted).tolist()],
        )


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
    """Measures how right a model is, and how sure that is; see ``evaluate_tested``.

    Args:
        truth: int (n,), index of each image's label, 0 to len(labels) - 1.
        probabilities: float (n, len(labels)), 0-1, in the order of the labels.
        patients: (n,), each image's patient; None where it is unknown.
        labels: In the order of the model's classes.
        positive_label: The class that a positive decision means; None for none.
        threshold: An image is positive at this probability of the positive label or above, 0-1.
        seed: Of the drawing; the same seed gives the same intervals.
        resamples: How many are drawn, 1 or more.

    Raises:
        UsageError: The arguments contradict each other.
        DataError: There are no images, or a probability is not between 0 and 1.
    """
    by_label = np.asarray(probabilities, dtype=np.float64)
    tested = Tested(np.asarray(truth), by_label, patients, labels, positive_label, threshold)
    return evaluate_tested(tested, seed, resamples)


def evaluate_tested(tested: Tested, seed: int = 0, resamples: int = 2000) -> Evaluation:
    """Measures how right a model is, and how sure that is.

    The intervals are the 2.5th and 97.5th percentile over resamples of a cluster bootstrap: whole
    patients are drawn with replacement, an image without a patient on its own. A resample in which
    a figure has no meaning, because no positive was drawn, is left out of that figure's interval.

    Where fewer than two patients have images that a figure counts (positives for the sensitivity,
    negatives for the specificity, each of them for AUC and average precision), the sample says
    nothing about other patients, and the interval is 0 to 1.

    Known limits: where every image is right, so is every resample, and the interval has no width.
    The calibration error cannot be negative, so that chance makes it larger, in few images more
    than in many and in a resample more than in the sample: read it, and its interval, as an upper
    bound.

    Args:
        tested: The model's answers.
        seed: Of the drawing; the same seed gives the same intervals.
        resamples: How many are drawn, 1 or more.

    Returns:
        The figures. The accuracy, the macro F1 and the calibration error go by the most probable
        label; sensitivity, specificity, precision and F1 by the threshold. What needs a positive
        label is None without one, or where a class that it needs has no images; the macro F1 is
        None with one.

    Raises:
        UsageError: The number of resamples is below 1.
    """
    if resamples < 1:
        raise UsageError(f"The number of resamples is {resamples}; expected 1 or more.")
    groups = Groups.of(tested.patients)
    found = statistics_of(tested, groups)
    resampled = resample(groups, list(found.values()), seed, resamples)
    by_name: dict[str, Any] = {
        name: figure(statistic, values)
        for (name, statistic), values in zip(found.items(), resampled, strict=True)
    }
    accuracy = by_name.pop("accuracy")
    assert accuracy is not None, "there is at least one image"
    return Evaluation(len(tested.truth), groups.patients, accuracy, **by_name)


def statistics_of(tested: Tested, groups: Groups) -> dict[str, Statistic]:
    """Every figure that the answers allow, by its name in ``Evaluation`` and in the order there.

    Args:
        tested: The model's answers.
        groups: Their images by patient.
    """
    found = figures.of_labels(groups, tested.truth, tested.probabilities)
    is_positive, score = tested.is_positive, tested.score
    if is_positive is None or score is None:
        found["macro_f1"] = figures.macro_f1(groups, tested.truth, tested.probabilities)
    else:
        found |= figures.of_decisions(groups, is_positive, score, tested.threshold)
    return {field.name: found[field.name] for field in fields(Evaluation) if field.name in found}


def _check_data(
    truth: NDArray[np.integer], probabilities: NDArray[np.float64], n: int, n_labels: int
) -> None:
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


def _check_options(labels: Sequence[str], positive_label: str | None, threshold: float) -> None:
    if positive_label is not None and positive_label not in labels:
        raise UsageError(
            f"The positive label {positive_label!r} is not a label; expected one of "
            f"{', '.join(labels)}."
        )
    if not 0 <= threshold <= 1:
        raise UsageError(f"The threshold is {threshold}; expected 0 to 1.")
