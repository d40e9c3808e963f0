"""Figures equal scikit-learn's; intervals come from whole patients."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train import bootstrap
from edgecell_train.statistics import evaluate

LABELS = ("Parasitized", "Uninfected")
POSITIVE = LABELS[0]


def _evaluate(
    truth: list[int] | NDArray[np.int64],
    score: list[float] | NDArray[np.float64],
    patients: list[str | None],
    *,
    threshold: float = 0.5,
    seed: int = 0,
    resamples: int = 400,
    positive_label: str | None = POSITIVE,
) -> Evaluation:
    """Evaluates two labels by the positive one's probability, which is label 0's."""
    positive = np.asarray(score, dtype=np.float64)
    return evaluate(
        np.asarray(truth),
        np.stack([positive, 1 - positive], axis=1),
        patients,
        labels=LABELS,
        positive_label=positive_label,
        threshold=threshold,
        seed=seed,
        resamples=resamples,
    )


def _width(figure: Figure | None) -> float:
    assert figure is not None
    return figure.high - figure.low


def _patients(n_patients: int, images_each: int) -> list[str | None]:
    return [f"P{i}" for i in range(n_patients) for _ in range(images_each)]


def _clustered(
    seed: int, n_patients: int = 40, images_each: int = 25
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str | None]]:
    """Images whose chance of a right answer is the patient's own, 0.8 on the average."""
    random = np.random.default_rng(seed)
    chance = np.repeat(random.beta(4, 1, n_patients), images_each)
    truth = random.integers(0, 2, chance.size)
    right = random.random(chance.size) < chance
    confidence = random.uniform(0.5, 1, chance.size)
    score = np.where((truth == 0) == right, confidence, 1 - confidence)
    return truth, score, _patients(n_patients, images_each)


def test_values_equal_scikit_learns_at_the_threshold() -> None:
    truth, score, patients = _clustered(1)
    found = _evaluate(truth, score, patients, threshold=0.7)
    positive, decided = truth == 0, score >= 0.7
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.auc is not None
    # The accuracy goes by the most probable label, and not by the threshold.
    assert found.accuracy.value == pytest.approx(accuracy_score(positive, score >= 0.5))
    assert found.sensitivity.value == pytest.approx(recall_score(positive, decided))
    assert found.specificity.value == pytest.approx(recall_score(~positive, ~decided))
    assert found.auc.value == pytest.approx(roc_auc_score(positive, score))
    assert (found.n, found.patients) == (1000, 40)


def test_probability_at_the_threshold_is_positive() -> None:
    found = _evaluate([0, 1], [0.7, 0.2], ["a", "b"], threshold=0.7)
    assert found.sensitivity is not None
    assert found.sensitivity.value == 1.0


def test_accuracy_counts_every_label_and_the_positive_one_may_be_any() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
    found = evaluate(
        np.array([0, 1, 2, 0]),
        probabilities,
        ["a", "b", "c", "d"],
        labels=("ring", "trophozoite", "none"),
        positive_label="trophozoite",
        threshold=0.5,
    )
    assert found.accuracy.value == 3 / 4
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert (found.sensitivity.value, found.specificity.value) == (1.0, 2 / 3)


def test_same_seed_gives_the_same_intervals_and_another_gives_others() -> None:
    truth, score, patients = _clustered(2)
    first, again, other = (_evaluate(truth, score, patients, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_intervals_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, score, patients = _clustered(2)
    whole = _evaluate(truth, score, patients)
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 7 * len(truth))
    assert _evaluate(truth, score, patients) == whole


def test_intervals_equal_those_of_repeating_the_drawn_patients_images() -> None:
    """The fast way through multiplicities, against the plain one through copies of images."""
    truth, score, patients = _clustered(3, n_patients=6, images_each=5)
    names = sorted({str(patient) for patient in patients})
    images = [np.flatnonzero([patient == name for patient in patients]) for name in names]
    random = np.random.default_rng(11)
    plain = []
    for _ in range(300):
        drawn = np.concatenate([images[i] for i in random.integers(6, size=6)])
        positive, decided = truth[drawn] == 0, score[drawn] >= 0.5
        plain.append(
            [
                accuracy_score(positive, decided),
                recall_score(positive, decided),
                recall_score(~positive, ~decided),
                roc_auc_score(positive, score[drawn]),
            ]
        )
    low, high = np.quantile(plain, [0.025, 0.975], axis=0)
    found = _evaluate(truth, score, patients, seed=11, resamples=300)
    figures = [found.accuracy, found.sensitivity, found.specificity, found.auc]
    expected = np.stack([low, high], axis=1)
    np.testing.assert_allclose([astuple(figure)[1:] for figure in figures if figure], expected)


def test_patients_widen_the_interval_when_their_images_go_together() -> None:
    truth, score, patients = _clustered(4)
    by_patient = _evaluate(truth, score, patients)
    by_image = _evaluate(truth, score, [None] * len(truth))
    assert by_image.patients == 0
    for name in ("accuracy", "sensitivity", "specificity", "auc"):
        assert _width(getattr(by_patient, name)) > 1.3 * _width(getattr(by_image, name))


def test_interval_by_image_is_the_binomial_one_when_there_are_no_patients() -> None:
    right = np.arange(1000) < 900
    found = _evaluate([0] * 1000, np.where(right, 0.9, 0.1), [None] * 1000, resamples=4000)
    half = 1.96 * math.sqrt(0.9 * 0.1 / 1000)
    assert found.accuracy.low == pytest.approx(0.9 - half, abs=0.003)
    assert found.accuracy.high == pytest.approx(0.9 + half, abs=0.003)


@pytest.mark.slow
def test_interval_over_patients_covers_the_truth_where_one_over_images_does_not() -> None:
    expected = 4 / (4 + 1)  # the mean of the beta distribution that gives the patients' chances
    covered = {"patients": 0, "images": 0}
    trials = 200
    for trial in range(trials):
        truth, score, patients = _clustered(1000 + trial)
        for name, unit in (("patients", patients), ("images", [None] * len(truth))):
            figure = _evaluate(truth, score, list(unit), positive_label=None).accuracy
            covered[name] += figure.low <= expected <= figure.high
    assert 0.89 <= covered["patients"] / trials <= 0.98
    assert covered["images"] / trials < 0.8


def test_image_without_a_patient_is_a_group_of_its_own() -> None:
    truth, score, _ = _clustered(5, n_patients=20, images_each=1)
    lone = _evaluate(truth, score, [None] * 20)
    named = _evaluate(truth, score, [f"P{i}" for i in range(20)])
    mixed = _evaluate(truth, score, ["P0", *[None] * 19])
    assert lone.accuracy == named.accuracy == mixed.accuracy
    assert (lone.patients, named.patients, mixed.patients) == (0, 20, 1)


def test_figures_are_none_when_a_class_has_no_images() -> None:
    score = [0.9, 0.8, 0.3, 0.9]
    infected = _evaluate([0, 0, 0, 0], score, ["a", "a", "b", "b"])
    assert infected.sensitivity is not None
    assert infected.sensitivity.value == 0.75
    assert infected.specificity is None
    assert infected.auc is None
    healthy = _evaluate([1, 1, 1, 1], score, ["a", "a", "b", "b"])
    assert healthy.sensitivity is None
    assert healthy.specificity is not None
    assert healthy.specificity.value == 0.25
    assert healthy.auc is None


def test_figures_are_none_when_there_is_no_positive_label() -> None:
    truth, score, patients = _clustered(6)
    found = _evaluate(truth, score, patients, positive_label=None)
    assert (found.sensitivity, found.specificity, found.auc) == (None, None, None)
    assert found.accuracy == _evaluate(truth, score, patients).accuracy


def test_interval_is_the_widest_when_there_is_one_patient() -> None:
    found = _evaluate([0, 0, 1, 1], [0.9, 0.2, 0.1, 0.1], ["a"] * 4)
    assert found.patients == 1
    assert found.accuracy == Figure(0.75, 0.0, 1.0)
    assert found.sensitivity == Figure(0.5, 0.0, 1.0)
    assert found.specificity == Figure(1.0, 0.0, 1.0)
    assert found.auc == Figure(1.0, 0.0, 1.0)


def test_interval_is_the_widest_for_figures_that_rest_on_one_patient_only() -> None:
    truth, score = [0, 0, 1, 1, 1, 1], [0.9, 0.2, 0.1, 0.1, 0.8, 0.1]
    found = _evaluate(truth, score, ["ill", "ill", "ill", "b", "b", "c"])
    assert found.sensitivity == Figure(0.5, 0.0, 1.0)
    assert found.auc is not None
    assert (found.auc.low, found.auc.high) == (0.0, 1.0)
    assert found.specificity is not None
    assert found.specificity.low > 0


def test_resamples_without_a_positive_are_left_out() -> None:
    # Two of twelve patients are infected and both are found: one resample in nine has neither.
    truth = [0, 0, *[1] * 10]
    found = _evaluate(truth, [0.9, 0.9, *[0.1] * 10], [f"P{i}" for i in range(12)])
    assert found.sensitivity == Figure(1.0, 1.0, 1.0)
    assert found.auc == Figure(1.0, 1.0, 1.0)


def test_interval_is_the_widest_when_no_resample_defines_the_figure() -> None:
    # One resample of two positives among fifty images: by this seed, it draws neither.
    truth, score = [0, 0, *[1] * 48], [0.9, 0.9, *[0.1] * 48]
    for seed in range(100):
        found = _evaluate(truth, score, [None] * 50, seed=seed, resamples=1)
        if found.sensitivity == Figure(1.0, 0.0, 1.0):
            return
    pytest.fail("each of 100 resamples drew a positive")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 1.1])
def test_answer_that_is_no_probability_is_refused(wrong: float) -> None:
    probabilities = np.array([[0.5, 0.5], [wrong, 0.5]])
    with pytest.raises(DataError, match="1 of 2 images is no probability; the first is image 1"):
        evaluate(
            np.array([0, 1]),
            probabilities,
            ["a", "b"],
            labels=LABELS,
            positive_label=None,
            threshold=0.5,
        )


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        _evaluate([], [], [])


@pytest.mark.parametrize("truth", [[0, 2], [-1, 0]])
def test_truth_that_is_no_label_is_refused(truth: list[int]) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        _evaluate(truth, [0.5, 0.5], ["a", "b"])


def test_arguments_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"expected \(1,\) and \(1, 2\)"):
        _evaluate([0, 1], [0.5, 0.5], ["a"])
    with pytest.raises(UsageError, match="not a label; expected one of Parasitized, Uninfected"):
        _evaluate([0, 1], [0.5, 0.5], ["a", "b"], positive_label="parasitized")
    with pytest.raises(UsageError, match=r"threshold is 1\.5"):
        _evaluate([0, 1], [0.5, 0.5], ["a", "b"], threshold=1.5)
    with pytest.raises(UsageError, match="resamples is 0"):
        _evaluate([0, 1], [0.5, 0.5], ["a", "b"], resamples=0)
