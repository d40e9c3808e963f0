"""The figures of each patient on their own, as a table."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgecell_train.runs import csv_text
from edgecell_train.statistics import Tested


@dataclass(frozen=True)
class PatientRow:
    """One patient's images.

    Attributes:
        patient: Who; empty for all images without a known patient.
        n: Images.
        positive: Images of the positive label; None without a positive label.
        accuracy: Share of right labels.
        sensitivity: Share of positives found at the threshold; None without one.
        specificity: Share of negatives left alone at the threshold; None without one.
        mean_probability: Of the positive label; of the most probable label without one.
    """

    patient: str
    n: int
    positive: int | None
    accuracy: float
    sensitivity: float | None
    specificity: float | None
    mean_probability: float


def patient_rows(tested: Tested) -> list[PatientRow]:
    """The figures of each patient, by name; images without a patient come last, together.

    Args:
        tested: The model's answers.
    """
    patients = np.array([patient or "" for patient in tested.patients])
    names = sorted(set(patients.tolist()), key=lambda name: (name == "", _natural(name)))
    return [_row(name, tested.only(patients == name)) for name in names]


def patients_csv(rows: Iterable[PatientRow]) -> str:
    """The table as CSV; a figure without a meaning is empty."""
    columns = [field.name for field in fields(PatientRow)]
    return csv_text(columns, [astuple(row) for row in rows])


def _row(name: str, tested: Tested) -> PatientRow:
    right = tested.probabilities.argmax(axis=1) == tested.truth
    is_positive, score = tested.is_positive, tested.score
    if is_positive is None or score is None:
        mean = float(tested.probabilities.max(axis=1).mean())
        return PatientRow(name, len(right), None, float(right.mean()), None, None, mean)
    decided = score >= tested.threshold
    return PatientRow(
        patient=name,
        n=len(right),
        positive=int(is_positive.sum()),
        accuracy=float(right.mean()),
        sensitivity=_mean(decided[is_positive]),
        specificity=_mean(~decided[~is_positive]),
        mean_probability=float(score.mean()),
    )


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None


def _natural(name: str) -> tuple[str, int, str]:
    """P2 before P10."""
    letters = name.rstrip("0123456789")
    return letters, int(name[len(letters) :] or -1), name
