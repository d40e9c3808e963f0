"""Figures over the answers of several folds, and how the folds' own figures spread."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train import figures
from edgecell_train.bootstrap import Groups, figure, resample
from edgecell_train.statistics import Tested, statistics_of

RESAMPLES: Final = 2000

_BY_THRESHOLD: Final = ("sensitivity", "specificity", "precision", "f1")


@dataclass(frozen=True)
class Spread:
    """A figure over the folds that have it.

    Attributes:
        mean: Of the folds' values.
        standard_deviation: With n - 1; None of a single one.
        folds: How many folds have it.
    """

    mean: float
    standard_deviation: float | None
    folds: int


def pooled_evaluation(folds: Sequence[Tested], seed: int = 0) -> Evaluation:
    """The figures over the test parts of all folds, each decided at its own threshold.

    Args:
        folds: The answers of each.
        seed: Of the bootstrap over patients.
    """
    pooled = together(folds)
    groups = Groups.of(pooled.patients)
    found = statistics_of(pooled, groups)
    marked, decided = pooled.is_positive, _decisions(folds)
    if marked is not None and decided is not None:
        by_threshold = figures.of_decisions(groups, marked, decided, 0.5)
        found |= {name: by_threshold[name] for name in _BY_THRESHOLD}
    resampled = resample(groups, list(found.values()), seed, RESAMPLES)
    by_name: dict[str, Any] = {
        name: figure(statistic, values)
        for (name, statistic), values in zip(found.items(), resampled, strict=True)
    }
    accuracy = by_name.pop("accuracy")
    assert accuracy is not None, "there is at least one image"
    return Evaluation(len(pooled.truth), groups.patients, accuracy, **by_name, folds=len(folds))


def together(folds: Sequence[Tested]) -> Tested:
    """The answers of all folds; the threshold is none of theirs."""
    return Tested(
        np.concatenate([fold.truth for fold in folds]),
        np.concatenate([fold.probabilities for fold in folds]),
        [patient for fold in folds for patient in fold.patients],
        folds[0].labels,
        folds[0].positive_label,
        0.5,
    )


def spread_of(evaluations: Sequence[Evaluation]) -> dict[str, Spread]:
    """Mean and standard deviation of each figure over the folds that have it."""
    found = {}
    for field in dataclasses.fields(Evaluation):
        of_folds = [getattr(evaluation, field.name) for evaluation in evaluations]
        values = [one.value for one in of_folds if isinstance(one, Figure)]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[field.name] = Spread(float(np.mean(values)), deviation, len(values))
    return found


def _decisions(folds: Sequence[Tested]) -> NDArray[np.float64] | None:
    """1 where an image is decided to be positive at its fold's threshold, else 0: float64 (n,)."""
    scores = [(fold.score, fold.threshold) for fold in folds]
    decided = [score >= threshold for score, threshold in scores if score is not None]
    return np.concatenate(decided).astype(np.float64) if decided else None
