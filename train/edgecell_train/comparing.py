"""Runs side by side, on the test images that all of them have, with a paired test over patients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.wording import counted
from edgecell_train.bootstrap import BOUNDS, Groups, Statistic, resample
from edgecell_train.figures import Ratio
from edgecell_train.runs import Run
from edgecell_train.statistics import Tested, evaluate_tested, statistics_of
from edgecell_train.tested_runs import tested_of

TESTED: Final = ("accuracy", "sensitivity", "specificity", "brier")
"""Means over images, which a patient's share can be taken of; the others have an interval only."""

_FLIPS: Final = 10_000
"""Fewer patterns of signs than this are all tried, so that the p-value is exact."""


@dataclass(frozen=True)
class Difference:
    """How far a run's figure is from the first run's, on the same images.

    Attributes:
        figure: Its name in ``Evaluation``.
        value: The run's minus the first run's.
        low: Lower end of its 95 % interval over patients, of the paired cluster bootstrap.
        high: Upper end.
        p: Of the sign-flip test over patients, two-sided; None for figures that are no mean over
            images.
    """

    figure: str
    value: float
    low: float
    high: float
    p: float | None


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: Of its folder.
        preset: What was trained.
        threshold: At which it decides.
        tested: Its test images, also those that other runs do not have.
        evaluation: Its figures on the images that all runs have.
        differences: From the first run; empty for that one.
    """

    name: str
    preset: str
    threshold: float
    tested: int
    evaluation: Evaluation
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        n: Test images that all runs have.
        patients: That these come from.
        runs: As they were given; the first is what the others are compared with.
        notes: What one has to know, as sentences.
    """

    n: int
    patients: int
    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]


def compare(runs: Sequence[Run], seed: int = 0, resamples: int = 2000) -> Comparison:
    """Compares runs with the first of them, on the test images that all of them have.

    The intervals of differences are those of a paired cluster bootstrap: in each resample, the same
    patients are drawn for both runs. The p-values are of a sign-flip test over patients (Fisher
    1935; Winkler et al. 2014): where two runs are equally good, each patient's difference could as
    well have the other sign. Each p-value stands for itself; none is adjusted for their number.

    Args:
        runs: Two or more.
        seed: Of the drawing; the same seed gives the same intervals.
        resamples: How many are drawn, 1 or more.

    Raises:
        UsageError: There are fewer than two runs, or their labels or positive labels differ.
        DataError: They share no test image, or disagree about one's label.
        RunError: A run is damaged.
    """
    if len(runs) < 2:
        raise UsageError("There is one run; expected two or more, to compare them.")
    _check_labels(runs)
    everything = [tested_of(run) for run in runs]
    shared = _on_shared_images(runs, everything)
    first = shared[0]
    groups = Groups.of(first.patients)
    known = [statistics_of(tested, groups) for tested in shared]
    drawn = [resample(groups, list(found.values()), seed, resamples) for found in known]
    compared = tuple(
        ComparedRun(
            name=name,
            preset=run.record.preset,
            threshold=run.record.threshold,
            tested=len(every.truth),
            evaluation=evaluate_tested(tested, seed, resamples),
            differences=_differences((known[0], known[i]), drawn[i] - drawn[0], seed) if i else (),
        )
        for i, (run, name, every, tested) in enumerate(
            zip(runs, _names(runs), everything, shared, strict=True)
        )
    )
    notes = (*_refit_notes(runs, compared), *_notes(compared, first))
    return Comparison(len(first.truth), groups.patients, compared, notes)


def sign_flip_p(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip test that differences are as often above 0 as below.

    Exact where there are few; else from random patterns of signs.

    Args:
        differences: float64 (patients,), each the sum over one patient's images.
        seed: Of the random patterns.

    Returns:
        Above 0, to 1.
    """
    from scipy.stats import permutation_test

    moving = differences[differences != 0]  # the sign of 0 changes nothing
    if moving.size < 2:
        return 1.0  # a single patient's sign is either, which says nothing
    found = permutation_test(
        (moving,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_FLIPS,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _check_labels(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if set(run.record.labels) != set(first.record.labels):
            raise UsageError(
                f"{run.folder.name} tells {', '.join(run.record.labels)} apart and "
                f"{first.folder.name} {', '.join(first.record.labels)}; expected the same labels."
            )
        if run.record.positive_label != first.record.positive_label:
            raise UsageError(
                f"The positive label of {run.folder.name} is {run.record.positive_label}, that of "
                f"{first.folder.name} {first.record.positive_label}; expected the same. Train one "
                "of them again with --positive."
            )


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names; with their paths where two have the same."""
    counts = Counter(run.folder.name for run in runs)
    return [run.folder.name if counts[run.folder.name] == 1 else str(run.folder) for run in runs]


def _on_shared_images(runs: Sequence[Run], everything: Sequence[Tested]) -> list[Tested]:
    """The answers to the images that all runs have, in the order and labels of the first run."""
    places = [_places(run) for run in runs]
    for run, place in zip(runs[1:], places[1:], strict=True):
        _check_truth((runs[0], places[0]), (run, place))
    keys = [key for key in places[0] if all(key in other for other in places[1:])]
    if not keys:
        raise DataError(
            "The runs have no test image in common, so that nothing can be compared; expected runs "
            "on the same data. Train them with the same --seed, which gives the same split."
        )
    labels = runs[0].record.labels
    aligned = []
    for tested, place in zip(everything, places, strict=True):
        rows = [place[key] for key in keys]
        columns = [tested.labels.index(label) for label in labels]
        aligned.append(
            replace(
                tested,
                truth=np.array([labels.index(tested.labels[tested.truth[row]]) for row in rows]),
                probabilities=tested.probabilities[np.ix_(rows, columns)],
                patients=[tested.patients[row] for row in rows],
                labels=labels,
            )
        )
    _check_patients(runs, aligned)
    return aligned


_Places = dict[tuple[str, str, int], int]
"""Rows of the answers by the image's hash, its label, and how many of the same came before."""


def _places(run: Run) -> _Places:
    counts: Counter[tuple[str, str]] = Counter()
    places = {}
    for row, answer in enumerate(run.tested_answers()):
        key = (answer.image.sha256, answer.image.label)
        places[*key, counts[key]] = row
        counts[key] += 1
    return places


def _check_truth(first: tuple[Run, _Places], other: tuple[Run, _Places]) -> None:
    """The same bytes may be there twice, also under two labels; but not only under others."""
    by_hash: list[dict[str, set[str]]] = [{}, {}]
    for labels, (_, places) in zip(by_hash, (first, other), strict=True):
        for sha256, label, _ in places:
            labels.setdefault(sha256, set()).add(label)
    for sha256 in by_hash[0].keys() & by_hash[1].keys():
        if by_hash[0][sha256].isdisjoint(by_hash[1][sha256]):
            raise DataError(
                f"The image with the hash {sha256[:12]}... shows {min(by_hash[0][sha256])} in "
                f"{first[0].folder.name} and {min(by_hash[1][sha256])} in {other[0].folder.name}; "
                "expected one truth. Train both on the same data."
            )


def _check_patients(runs: Sequence[Run], aligned: Sequence[Tested]) -> None:
    for run, tested in zip(runs[1:], aligned[1:], strict=True):
        if list(tested.patients) != list(aligned[0].patients):
            raise DataError(
                f"{runs[0].folder.name} and {run.folder.name} know other patients of the same "
                "images; expected the same. Train both with the same --patients."
            )


def _differences(
    statistics: tuple[dict[str, Statistic], dict[str, Statistic]],
    resampled: NDArray[np.float64],
    seed: int,
) -> tuple[Difference, ...]:
    """Of all figures that both runs have; float64 (figures, resamples) are their differences."""
    found = []
    for (name, before), after, values in zip(
        statistics[0].items(), statistics[1].values(), resampled, strict=True
    ):
        if before.value is None or after.value is None:
            continue
        low, high = -1.0, 1.0
        defined = values[~np.isnan(values)]
        if before.has_spread() and after.has_spread() and defined.size:
            low, high = (float(bound) for bound in np.quantile(defined, BOUNDS))
        p = None
        if name in TESTED and isinstance(before, Ratio) and isinstance(after, Ratio):
            p = sign_flip_p(after.part - before.part, seed)
        found.append(Difference(name, after.value - before.value, low, high, p))
    return tuple(found)


def _refit_notes(runs: Sequence[Run], compared: Sequence[ComparedRun]) -> list[str]:
    return [
        f"{one.name} was trained on all images, and its column is of other nets: those of its "
        "cross-validation, each on the patients that it was not trained on, here decided at the "
        "threshold of the refit."
        for run, one in zip(runs, compared, strict=True)
        if run.is_refit
    ]


def _notes(runs: Sequence[ComparedRun], shared: Tested) -> tuple[str, ...]:
    notes = []
    n = len(shared.truth)
    if any(run.tested != n for run in runs):
        sizes = ", ".join(f"{run.name} {run.tested:,}" for run in runs)
        notes.append(
            f"Compared on {counted(n, 'test image')} that all runs have; each has of its own: "
            f"{sizes}."
        )
    lone = sum(patient is None for patient in shared.patients)
    if lone:
        notes.append(
            f"{counted(lone, 'image')} of {n:,} without a patient, each counted as a patient of "
            "its own; if patients gave several, intervals are too narrow and p-values too small."
        )
    if len(runs) > 2:
        notes.append("The p-values are not adjusted for the number of comparisons.")
    return tuple(notes)
