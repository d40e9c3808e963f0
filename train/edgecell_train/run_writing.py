"""Writing a run's folder."""

import warnings
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_runtime import codec
from edgecell_train import plots
from edgecell_train.config_files import CONFIG, toml_text
from edgecell_train.cross_validation import RESULT
from edgecell_train.decoding import Decoded
from edgecell_train.findings import Answered, Findings
from edgecell_train.fitting import EpochRecord
from edgecell_train.patient_table import patient_rows, patients_csv
from edgecell_train.presets.base import KerasModel
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import (
    ANSWERS,
    HISTORY,
    OUT_OF_FOLD,
    RECORD,
    SPLIT,
    SPLIT_COLUMNS,
    csv_text,
)
from edgecell_train.tested_runs import UNCALIBRATED, write_disputed

PATIENTS: Final = "patients.csv"


def write_run(folder: Path, record: RunRecord, found: Findings) -> None:
    """Makes the folder of a run, with all its files but the report.

    Raises:
        OSError: A file could not be written.
    """
    folder.mkdir()
    (folder / RECORD).write_text(codec.dumps(record, indent=2), encoding="utf-8")
    work = found.work
    (folder / CONFIG).write_text(toml_text(work.job.config), encoding="utf-8")
    save_model(found.fitted.model, folder / f"{record.preset}.keras")
    decoded = work.decoded
    rows = list(zip(decoded.images, decoded.sha256, work.parts, strict=True))
    _write_csv(
        folder / SPLIT,
        SPLIT_COLUMNS,
        [(image.name, image.label, image.patient, part, sha) for image, sha, part in rows],
    )
    _write_answers(folder / ANSWERS, record, decoded, found.answered)
    if found.folds is not None and found.out_of_fold is not None:
        _write_answers(folder / OUT_OF_FOLD, record, decoded, found.out_of_fold)
        _write_text(folder / RESULT, codec.dumps(found.folds, indent=2) + "\n")
    history = found.fitted.history
    columns = tuple(field.name for field in fields(EpochRecord))
    _write_csv(folder / HISTORY, columns, [astuple(epoch) for epoch in history])
    (folder / "history.png").write_bytes(plots.history(history, record.kept_epoch))
    _write_text(folder / PATIENTS, patients_csv(patient_rows(found.tested)))
    if found.disputed:
        write_disputed(folder, found.disputed)


def _write_answers(path: Path, record: RunRecord, decoded: Decoded, answered: Answered) -> None:
    """The calibrated answers, which exports are held against; where they differ, both."""
    columns = ["name", "sha256", "label", *(f"p({label})" for label in record.labels)]
    answers = answered.probabilities
    if record.temperature != 1:
        columns += [UNCALIBRATED.format(label=label) for label in record.labels]
        answers = np.concatenate([answers, answered.uncalibrated], axis=1)
    images = [(decoded.images[i], decoded.sha256[i]) for i in answered.rows]
    _write_csv(
        path,
        tuple(columns),
        [
            (image.name, sha, image.label, *(float(p) for p in answer))
            for (image, sha), answer in zip(images, answers, strict=True)
        ],
    )


def save_model(model: KerasModel, path: Path) -> None:
    """Writes graph and weights, without the optimiser's state, which is twice their size."""
    bare = import_keras().Model(model.inputs, model.outputs, name="model")
    with warnings.catch_warnings():
        # Keras hands its variables to h5py in a way that NumPy 2 has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        bare.save(path)


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    _write_text(path, csv_text(columns, rows))


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
