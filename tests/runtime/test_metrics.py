"""The metrics are scikit-learn's, on random data with ties and on the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from edgecell_runtime import metrics
from edgecell_runtime.metrics import Counts, ScoreRanking

# (is positive, score in tenths, so that ties are common, how often it counts)
rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 5)), min_size=1, max_size=60
)
label_pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def _columns(
    drawn: list[tuple[bool, int, int]],
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    truth, tenths, weights = (np.array(column) for column in zip(*drawn, strict=True))
    return truth.astype(np.bool_), tenths / 10, weights.astype(np.int64)


@settings(deadline=None)
@given(rows)
def test_sensitivity_and_specificity_equal_scikit_learns_recalls(
    drawn: list[tuple[bool, int, int]],
) -> None:
    truth, score, _ = _columns(drawn)
    counts = metrics.count(truth, score >= 0.5)
    for figure, label in (
        (metrics.sensitivity(counts), True),
        (metrics.specificity(counts), False),
    ):
        if label in truth:
            assert figure == pytest.approx(recall_score(truth, score >= 0.5, pos_label=label))
        else:
            assert figure is None


@settings(deadline=None)
@given(label_pairs)
def test_accuracy_and_confusion_equal_scikit_learns(drawn: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(drawn).T
    assert metrics.accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    np.testing.assert_array_equal(
        metrics.confusion(truth, predicted, 4),
        confusion_matrix(truth, predicted, labels=range(4)),
    )


@settings(deadline=None)
@given(rows)
def test_rank_auc_equals_scikit_learns_with_ties_and_weights(
    drawn: list[tuple[bool, int, int]],
) -> None:
    truth, score, weights = _columns(drawn)
    if len(set(truth)) == 2:
        assert metrics.rank_auc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    counted = truth[weights > 0]
    area = metrics.rank_auc(truth, score, weights)
    if len(set(counted)) == 2:
        assert area == pytest.approx(roc_auc_score(truth, score, sample_weight=weights))
    else:
        assert area is None


@settings(deadline=None)
@given(rows)
def test_average_precision_equals_scikit_learns_with_ties_and_weights(
    drawn: list[tuple[bool, int, int]],
) -> None:
    truth, score, weights = _columns(drawn)
    if truth.any():
        expected = average_precision_score(truth, score)
        assert metrics.average_precision(truth, score) == pytest.approx(expected)
    found = metrics.average_precision(truth, score, weights)
    if (truth & (weights > 0)).any():
        expected = average_precision_score(truth, score, sample_weight=weights)
        assert found == pytest.approx(expected)
    else:
        assert found is None


@settings(deadline=None)
@given(rows)
def test_precision_and_f1_equal_scikit_learns(drawn: list[tuple[bool, int, int]]) -> None:
    truth, score, _ = _columns(drawn)
    decided = score >= 0.5
    counts = metrics.count(truth, decided)
    if decided.any():
        assert metrics.precision(counts) == pytest.approx(precision_score(truth, decided))
    else:
        assert metrics.precision(counts) is None
    if decided.any() or truth.any():
        assert metrics.f1(counts) == pytest.approx(f1_score(truth, decided))
    else:
        assert metrics.f1(counts) is None


def test_rank_auc_with_weights_equals_repeating_each_image() -> None:
    random = np.random.default_rng(3)
    truth, score = random.random(200) < 0.4, random.integers(0, 30, 200) / 30
    weights = random.integers(0, 4, 200)
    repeated = metrics.rank_auc(np.repeat(truth, weights), np.repeat(score, weights))
    assert metrics.rank_auc(truth, score, weights) == repeated


def test_score_ranking_gives_one_auc_a_row_and_nan_where_a_class_is_missing() -> None:
    truth, score = np.array([True, False, True]), np.array([0.2, 0.5, 0.9])
    weights = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1], [2, 1, 1]])
    areas = ScoreRanking.of(truth, score).auc(weights)
    np.testing.assert_allclose(areas, [1 / 2, 1, 0, np.nan, 1 / 3])


def test_rank_auc_is_none_when_there_is_one_class_or_no_image() -> None:
    score = np.array([0.1, 0.9])
    assert metrics.rank_auc(np.array([True, True]), score) is None
    assert metrics.rank_auc(np.array([False, False]), score) is None
    assert metrics.rank_auc(np.array([], dtype=np.bool_), np.array([])) is None
    assert metrics.average_precision(np.array([], dtype=np.bool_), np.array([])) is None


def test_count_names_each_cell() -> None:
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=np.bool_)
    decided = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=np.bool_)
    assert metrics.count(truth, decided) == Counts(
        true_positive=3, false_negative=1, true_negative=4, false_positive=2
    )


def test_confusion_has_truth_in_rows() -> None:
    matrix = metrics.confusion(np.array([0, 0, 1]), np.array([2, 2, 1]), 3)
    np.testing.assert_array_equal(matrix, [[0, 0, 2], [0, 1, 0], [0, 0, 0]])


def test_confusion_does_not_overflow_when_labels_are_uint8() -> None:
    labels = np.array([99], dtype=np.uint8)
    assert metrics.confusion(labels, labels, 100)[99, 99] == 1


@pytest.mark.parametrize("index", [-1, 2])
def test_confusion_refuses_an_index_that_is_no_label(index: int) -> None:
    with pytest.raises(ValueError, match=r"predicted holds label indices .* expected 0 to 1"):
        metrics.confusion(np.array([0, 1]), np.array([0, index]), 2)


def test_count_refuses_integers() -> None:
    with pytest.raises(ValueError, match="expected bool"):
        metrics.count(np.array([1, 0]), np.array([1, 0]))


def test_accuracy_refuses_no_images_and_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="at least one"):
        metrics.accuracy(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        metrics.accuracy(np.array([0, 1]), np.array([0]))


@pytest.mark.parametrize("weights", [np.array([1, -1]), np.array([0.5, 1.0])])
def test_rank_auc_refuses_weights_that_are_no_multiplicities(weights: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="integers, 0 or more"):
        metrics.rank_auc(np.array([True, False]), np.array([0.1, 0.2]), weights)


def test_rank_auc_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        metrics.rank_auc(np.array([True, False]), np.array([0.1, np.nan]))
