"""The figures beside accuracy, sensitivity, specificity and AUC: values as others compute them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
)

from edgecell_runtime.errors import DataError
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train import statistics
from edgecell_train.statistics import evaluate, evaluate_tested

LABELS = ("Parasitized", "Uninfected")

# (is positive, score in tenths, so that ties and the threshold itself are common)
two_labels = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=40)
# (truth, said, how sure in tenths)
four_labels = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(3, 10)), min_size=1, max_size=40
)


def _value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def _of_two(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> Evaluation:
    return evaluate(
        np.where(positive, 0, 1),
        np.stack([score, 1 - score], axis=1),
        [None] * len(score),
        labels=LABELS,
        positive_label=LABELS[0],
        threshold=0.5,
        resamples=3,
    )


def _columns(drawn: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive, tenths = (np.array(column) for column in zip(*drawn, strict=True))
    return positive.astype(np.bool_), tenths / 10


@settings(deadline=None)
@given(two_labels)
def test_precision_and_f1_equal_scikit_learns(drawn: list[tuple[bool, int]]) -> None:
    positive, score = _columns(drawn)
    found, decided = _of_two(positive, score), score >= 0.5
    if decided.any():
        assert _value(found.precision) == pytest.approx(precision_score(positive, decided))
    else:
        assert found.precision is None
    if decided.any() or positive.any():
        assert _value(found.f1) == pytest.approx(f1_score(positive, decided))
    else:
        assert found.f1 is None


@settings(deadline=None)
@given(two_labels)
def test_average_precision_equals_scikit_learns_with_ties(drawn: list[tuple[bool, int]]) -> None:
    positive, score = _columns(drawn)
    found = _of_two(positive, score).average_precision
    if positive.any() and not positive.all():
        assert _value(found) == pytest.approx(average_precision_score(positive, score))
    else:
        assert found is None


@settings(deadline=None)
@given(two_labels)
def test_brier_score_of_two_labels_equals_scikit_learns(drawn: list[tuple[bool, int]]) -> None:
    positive, score = _columns(drawn)
    expected = brier_score_loss(positive, score, labels=[False, True])
    assert _value(_of_two(positive, score).brier) == pytest.approx(expected)


def _of_four(drawn: list[tuple[int, int, int]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    truth, said, tenths = np.array(drawn).T
    sure = tenths / 10
    probabilities = np.repeat((1 - sure)[:, np.newaxis] / 3, 4, axis=1)
    probabilities[np.arange(len(truth)), said] = sure
    return truth, probabilities


@settings(deadline=None)
@given(four_labels)
def test_figures_without_a_positive_label_equal_scikit_learns(
    drawn: list[tuple[int, int, int]],
) -> None:
    truth, probabilities = _of_four(drawn)
    tested = statistics.Tested(truth, probabilities, [None] * len(truth), "abcd", None, 0.5)
    found = evaluate_tested(tested, resamples=3)
    predicted = probabilities.argmax(axis=1)
    assert _value(found.macro_f1) == pytest.approx(f1_score(truth, predicted, average="macro"))
    expected = brier_score_loss(truth, probabilities, labels=range(4), scale_by_half=True)
    assert _value(found.brier) == pytest.approx(expected)
    of_a_positive = (found.sensitivity, found.auc, found.precision, found.f1)
    assert of_a_positive == (None,) * 4
    assert found.average_precision is None


def _plain_calibration_error(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """As in the paper: bin m holds confidences in ((m - 1) / 15, m / 15]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    error = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return error


@settings(deadline=None)
@given(four_labels)
def test_calibration_error_is_that_of_the_paper(drawn: list[tuple[int, int, int]]) -> None:
    truth, probabilities = _of_four(drawn)
    tested = statistics.Tested(truth, probabilities, [None] * len(truth), "abcd", None, 0.5)
    found = evaluate_tested(tested, resamples=3)
    expected = _plain_calibration_error(truth, probabilities)
    assert _value(found.calibration_error) == pytest.approx(expected)


def _clustered(images: int = 400) -> statistics.Tested:
    random = np.random.default_rng(4)
    truth = random.integers(0, 2, images)
    score = np.clip(np.where(truth == 0, 0.65, 0.35) + random.normal(0, 0.25, images), 0, 1)
    patients = [f"P{i % 8}" for i in range(images)]
    probabilities = np.stack([score, 1 - score], axis=1)
    return statistics.Tested(truth, probabilities, patients, LABELS, LABELS[0], 0.6)


def test_intervals_equal_those_of_repeating_the_drawn_patients_images() -> None:
    """The fast way through multiplicities, against the plain one through copies of images."""
    tested = _clustered()
    images = [np.flatnonzero([p == f"P{i}" for p in tested.patients]) for i in range(8)]
    random = np.random.default_rng(9)
    plain = []
    for _ in range(200):
        drawn = np.concatenate([images[i] for i in random.integers(8, size=8)])
        positive, score = tested.truth[drawn] == 0, tested.probabilities[drawn, 0]
        plain.append(
            [
                precision_score(positive, score >= 0.6),
                f1_score(positive, score >= 0.6),
                average_precision_score(positive, score),
                brier_score_loss(positive, score),
                _plain_calibration_error(tested.truth[drawn], tested.probabilities[drawn]),
            ]
        )
    found = evaluate_tested(tested, seed=9, resamples=200)
    figures = (found.precision, found.f1, found.average_precision, found.brier)
    ends = [(f.low, f.high) for f in (*figures, found.calibration_error) if f is not None]
    np.testing.assert_allclose(ends, np.quantile(plain, [0.025, 0.975], axis=0).T)


def test_calibration_error_lies_in_its_interval_when_every_resample_is_above_it() -> None:
    # Four images, right at 0.75 as often as they say: any other draw of them is further away.
    probabilities = np.tile([0.75, 0.25], (4, 1))
    tested = statistics.Tested(
        np.array([0, 0, 0, 1]), probabilities, [None] * 4, LABELS, LABELS[0], 0.5
    )
    for seed in range(50):
        found = evaluate_tested(tested, seed=seed, resamples=3).calibration_error
        assert found is not None
        assert found.low <= found.value == 0 <= found.high


def test_figures_of_some_images_are_those_of_evaluating_them_alone() -> None:
    tested = _clustered(100)
    wanted = np.arange(100) % 3 > 0
    alone = evaluate(
        tested.truth[wanted],
        tested.probabilities[wanted],
        [patient for patient, keep in zip(tested.patients, wanted, strict=True) if keep],
        labels=LABELS,
        positive_label=LABELS[0],
        threshold=0.6,
    )
    assert evaluate_tested(tested.only(wanted)) == alone
    assert alone.n == wanted.sum()


def test_no_image_left_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        _clustered(10).only(np.zeros(10, dtype=np.bool_))
