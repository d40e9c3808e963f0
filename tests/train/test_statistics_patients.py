"""The table a patient."""

import csv

import numpy as np

from edgecell_train import statistics
from edgecell_train.patient_table import PatientRow, patient_rows, patients_csv

SCORE = np.array([0.9, 0.4, 0.2, 0.7, 0.8, 0.1])
TRUTH = np.array([0, 0, 1, 1, 0, 1])
PATIENTS = ("P10", "P10", "P10", "P2", None, "P2")


def _tested(positive_label: str | None = "a", threshold: float = 0.5) -> statistics.Tested:
    probabilities = np.stack([SCORE, 1 - SCORE], axis=1)
    return statistics.Tested(TRUTH, probabilities, PATIENTS, ("a", "b"), positive_label, threshold)


def test_patients_stand_in_natural_order_and_images_without_one_come_last() -> None:
    assert [row.patient for row in patient_rows(_tested())] == ["P2", "P10", ""]


def test_row_holds_the_figures_of_the_patients_own_images() -> None:
    second, tenth, unknown = patient_rows(_tested())
    assert tenth == PatientRow("P10", 3, 2, 2 / 3, 0.5, 1.0, float(np.mean([0.9, 0.4, 0.2])))
    assert (second.sensitivity, second.specificity, second.positive) == (None, 0.5, 0)
    assert (unknown.n, unknown.sensitivity, unknown.specificity) == (1, 1.0, None)


def test_sensitivity_goes_by_the_threshold_and_accuracy_by_the_label() -> None:
    _, tenth, _ = patient_rows(_tested(threshold=0.4))
    assert (tenth.accuracy, tenth.sensitivity) == (2 / 3, 1.0)


def test_row_has_no_figures_of_a_positive_label_when_there_is_none() -> None:
    second, _, _ = patient_rows(_tested(None))
    assert (second.positive, second.sensitivity, second.specificity) == (None, None, None)
    assert second.mean_probability == np.mean([0.7, 0.9])


def test_csv_comes_back_as_it_was_and_leaves_missing_figures_empty() -> None:
    rows = patient_rows(_tested())
    read = list(csv.DictReader(patients_csv(rows).splitlines()))
    assert [float(row["accuracy"]) for row in read] == [row.accuracy for row in rows]
    assert [row["sensitivity"] for row in read] == ["", "0.5", "1.0"]
