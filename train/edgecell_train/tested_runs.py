"""A run's answers on its test images, ready for statistics, and what else is known of them."""

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import Answer
from edgecell_runtime.errors import RunError
from edgecell_runtime.files import write_text
from edgecell_runtime.heads import Head
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import Run, csv_text
from edgecell_train.statistics import Tested

DISPUTED: Final = "disputed.csv"
"""In a run: the names of the images whose label somebody disputes."""

UNCALIBRATED: Final = "uncalibrated({label})"
"""A column a label in ``answers.csv``: its probability before the temperature, where not 1."""


def tested_of(run: Run) -> Tested:
    """The answers that a run's figures are of, with the patients, in the order of the file.

    Raises:
        RunError: The run is damaged.
    """
    record, answers = run.record, run.tested_answers()
    if not answers:
        raise RunError(f"{run.tested_file} is damaged: it has no rows.")
    patients = {row.image.name: row.image.patient for row in run.split()}
    return Tested(
        truth=np.array([record.labels.index(answer.image.label) for answer in answers]),
        probabilities=np.array([answer.probabilities for answer in answers]),
        patients=[patients.get(answer.image.name) for answer in answers],
        labels=record.labels,
        positive_label=record.positive_label,
        threshold=record.threshold,
    )


def uncalibrated_of(run: Run) -> NDArray[np.float64] | None:
    """The probabilities that ``tested_of`` gives, before the temperature.

    Returns:
        float64 (n, labels), in the order of the file: as that holds them, or computed back
        for a softmax or a sigmoid. None where neither is possible.

    Raises:
        RunError: The file is missing or damaged.
    """
    record = run.record
    columns = [UNCALIBRATED.format(label=label) for label in record.labels]
    try:
        with run.tested_file.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            stored = set(columns) <= set(reader.fieldnames or ())
            rows = [[float(row[column]) for column in columns] for row in reader if stored]
    except (OSError, csv.Error, ValueError, TypeError) as error:
        raise RunError(f"{run.tested_file} is damaged: {error}.") from error
    if stored:
        return np.array(rows, dtype=np.float64)
    if record.head.kind not in ("softmax", "sigmoid"):
        return None
    logits = np.log(np.maximum(tested_of(run).probabilities, np.finfo(np.float64).tiny))
    # Logits of a softmax are known up to a number an image, and a sigmoid is one of two labels.
    return Head("softmax").probabilities(logits * record.temperature, record.labels)


def write_disputed(folder: Path, names: Iterable[str]) -> None:
    """Keeps in a run which images have a disputed label.

    Args:
        folder: Of the run.
        names: Of the images, as in its ``split.csv``.

    Raises:
        StorageError: The file could not be written.
    """
    write_text(folder / DISPUTED, csv_text(["name"], [[name] for name in sorted(names)]))


def disputed_of(run: Run) -> frozenset[str]:
    """Names of the images whose label somebody disputes; empty where nothing is known.

    Raises:
        RunError: The file cannot be read.
    """
    path = run.folder / DISPUTED
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return frozenset(row[0] for row in list(csv.reader(file))[1:] if row)
    except FileNotFoundError:
        return frozenset()
    except (OSError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error


def by_lot(answers: Iterable[Answer], record: RunRecord) -> list[Answer]:
    """Test images in an order drawn by the run's seed, and not by how they turned out.

    By hash and not by a generator, so that the order is the same with any version of any library.
    """

    def lot(answer: Answer) -> bytes:
        return hashlib.sha256(f"{record.seed} {answer.image.sha256}".encode()).digest()

    return sorted(answers, key=lot)


def is_right(answer: Answer, record: RunRecord) -> bool:
    """Whether the most probable label is the true one."""
    return record.labels[int(np.argmax(answer.probabilities))] == answer.image.label
