"""Runs side by side: shared images, paired intervals, the sign-flip test."""

import csv
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.report_page import make_run

from edgecell_runtime.errors import DataError, UsageError
from edgecell_train.comparing import Comparison, Difference, compare, sign_flip_p
from edgecell_train.runs import ANSWERS, SPLIT, Run
from edgecell_train.statistics import evaluate

Rows = list[dict[str, str]]


def _rewrite(path: Path, change: Callable[[Rows], Rows]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(change(rows))


def _run(folder: Path, *, each: int = 12, wrong: tuple[int, ...] = ()) -> Run:
    return make_run(folder, each=each, wrong=wrong)


def _difference(comparison: Comparison, figure: str) -> Difference:
    (found,) = [one for one in comparison.runs[1].differences if one.figure == figure]
    return found


def test_runs_of_the_same_images_are_compared_on_all_of_them(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a", wrong=(1, 2)), _run(tmp_path / "b", wrong=(2,))]
    found = compare(runs)
    assert (found.n, found.patients, found.notes) == (24, 12, ())
    assert [run.name for run in found.runs] == ["a", "b"]
    assert [run.evaluation.accuracy.value for run in found.runs] == [20 / 24, 22 / 24]
    assert _difference(found, "accuracy").value == pytest.approx(2 / 24)
    assert found.runs[0].differences == ()


def test_figures_are_those_of_evaluating_each_run(tmp_path: Path) -> None:
    run = _run(tmp_path / "b", wrong=(2,))
    found = compare([_run(tmp_path / "a"), run]).runs[1].evaluation
    answers = run.answers()
    expected = evaluate(
        np.array([run.record.labels.index(answer.image.label) for answer in answers]),
        np.array([answer.probabilities for answer in answers]),
        [f"P{i % 12}" for i in range(24)],
        labels=run.record.labels,
        positive_label=run.record.positive_label,
        threshold=0.5,
    )
    assert found == expected


def test_run_equals_itself(tmp_path: Path) -> None:
    found = compare([_run(tmp_path / "a", wrong=(3,)), _run(tmp_path / "b", wrong=(3,))])
    assert {(one.value, one.low, one.high) for one in found.runs[1].differences} == {(0, 0, 0)}
    assert {one.p for one in found.runs[1].differences} == {1.0, None}


def test_interval_of_a_difference_is_that_of_drawing_the_same_patients_for_both(
    tmp_path: Path,
) -> None:
    found = compare([_run(tmp_path / "a", wrong=(1, 2, 3)), _run(tmp_path / "b", wrong=(3, 4))])
    gains = np.array([0, 1, 1, 0, -1, *[0] * 7])  # of each of a patient's two images
    random = np.random.default_rng(0)
    plain = [gains[random.integers(12, size=12)].mean() for _ in range(2000)]
    accuracy = _difference(found, "accuracy")
    np.testing.assert_allclose(
        [accuracy.low, accuracy.high], np.quantile(plain, [0.025, 0.975]), atol=1e-12
    )


def test_paired_interval_is_narrower_than_the_runs_own_when_they_err_on_the_same_images(
    tmp_path: Path,
) -> None:
    hard = (1, 2, 3, 4)
    found = compare([_run(tmp_path / "a", wrong=hard), _run(tmp_path / "b", wrong=hard[:3])])
    accuracy, own = _difference(found, "accuracy"), found.runs[0].evaluation.accuracy
    assert accuracy.high - accuracy.low < 0.6 * (own.high - own.low)


def test_only_images_that_all_runs_tested_count_in_any_order(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name, wrong=(0,)) for name in "abc"]
    _rewrite(tmp_path / "b" / ANSWERS, lambda rows: rows[::-1][:20])
    found = compare(runs)
    assert found.n == 20
    assert [run.tested for run in found.runs] == [24, 20, 24]
    assert len({run.evaluation for run in found.runs}) == 1
    assert "on 20 test images that all runs have" in found.notes[0]
    assert "not adjusted" in found.notes[1]


def test_labels_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", wrong=(0,)), _run(tmp_path / "b", wrong=(0,))
    turned = dataclasses.replace(second.record, labels=second.record.labels[::-1])
    found = compare([first, dataclasses.replace(second, record=turned)])
    assert found.runs[0].evaluation == found.runs[1].evaluation


def test_images_with_the_same_bytes_are_paired_one_by_one(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, each=4, file=b"same") for name in "ab"]
    assert compare(runs).n == 8


def test_runs_without_a_common_test_image_are_refused(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a"), _run(tmp_path / "b")]
    _rewrite(tmp_path / "b" / ANSWERS, lambda rows: [row | {"sha256": "f" * 64} for row in rows])
    with pytest.raises(DataError, match="no test image in common"):
        compare(runs)


def test_runs_of_other_labels_are_refused(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a"), make_run(tmp_path / "b", labels=("Cat", "Dog"))]
    with pytest.raises(UsageError, match="b tells Cat, Dog apart and a Parasitized, Uninfected"):
        compare(runs)


def test_runs_of_another_positive_label_are_refused(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a"), _run(tmp_path / "b")
    record = dataclasses.replace(second.record, positive_label="Uninfected")
    with pytest.raises(UsageError, match="positive label of b is Uninfected, that of a"):
        compare([first, dataclasses.replace(second, record=record)])


def test_runs_that_disagree_about_the_truth_are_refused(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a"), _run(tmp_path / "b")]
    # The same bytes stand under both labels in these runs; one label is left in each.
    for name, label in (("a", "Parasitized"), ("b", "Uninfected")):
        _rewrite(
            tmp_path / name / ANSWERS,
            lambda rows, label=label: [row for row in rows if row["label"] == label],
        )
    with pytest.raises(DataError, match="shows Parasitized in a and Uninfected in b"):
        compare(runs)


def test_runs_that_disagree_about_patients_are_refused(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a"), _run(tmp_path / "b")]
    _rewrite(tmp_path / "b" / SPLIT, lambda rows: [row | {"patient": "P1"} for row in rows])
    with pytest.raises(DataError, match="know other patients"):
        compare(runs)


def test_single_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected two or more"):
        compare([_run(tmp_path / "a")])


def test_images_without_a_patient_are_said_to_be_such(tmp_path: Path) -> None:
    found = compare([make_run(tmp_path / name, patients=False) for name in "ab"])
    assert found.patients == 0
    assert "6 images of 6 without a patient" in found.notes[0]


def test_p_is_the_share_of_all_patterns_of_signs_that_are_as_far_from_0() -> None:
    differences = np.array([3.0, 1.0, 2.0, -1.0, 4.0, 2.0])
    patterns = np.array(list(itertools.product([1, -1], repeat=6)))
    sums = patterns @ differences
    expected = np.mean(np.abs(sums) >= abs(differences.sum()))
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_p_does_not_change_with_patients_without_a_difference() -> None:
    differences = np.array([3.0, 1.0, 2.0, -1.0])
    assert sign_flip_p(np.append(differences, np.zeros(50))) == sign_flip_p(differences)


def test_p_is_drawn_when_there_are_many_patients_and_the_same_for_the_same_seed() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, 60)
    first = sign_flip_p(differences)
    assert first == sign_flip_p(differences)
    assert 0.0001 <= first < 0.1


@pytest.mark.parametrize("differences", [[], [0.0, 0.0], [5.0, 0.0]])
def test_p_is_1_when_at_most_one_patient_differs(differences: list[float]) -> None:
    assert sign_flip_p(np.array(differences)) == 1


def test_p_is_below_a_twentieth_in_one_of_twenty_comparisons_of_equals() -> None:
    random = np.random.default_rng(8)
    below = [sign_flip_p(random.normal(0, 1, 10)) <= 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(below) <= 0.08
