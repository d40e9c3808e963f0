"""A run: the folder that one training leaves, and reading it again."""

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgecell_export.source import Answer, Evidence, KnownImage, SourceModel
from edgecell_runtime import codec
from edgecell_runtime.errors import DataError, ManifestError, RunError
from edgecell_runtime.labelled import LabelledImages
from edgecell_train.carried import evaluation_of, source_of
from edgecell_train.evidence_parts import evidence_parts
from edgecell_train.hdf5_images import open_data
from edgecell_train.keras_files import load_keras_file
from edgecell_train.run_record import RunRecord
from edgecell_train.split import PARTS
from edgecell_train.variables import values_of

RECORD: Final = "run.json"
SPLIT: Final = "split.csv"
ANSWERS: Final = "answers.csv"
OUT_OF_FOLD: Final = "out-of-fold.csv"
HISTORY: Final = "history.csv"
DRAWN_CELLS: Final = "drawn-cells.zip"
LATEST: Final = "latest"
DEFAULT_RUNS: Final = Path("runs")

SPLIT_COLUMNS: Final = ("name", "label", "patient", "part", "sha256")


@dataclass(frozen=True)
class SplitRow:
    """One image of the split."""

    image: KnownImage
    part: str


@dataclass(frozen=True)
class Run:
    """A finished run on disk.

    Attributes:
        folder: Where it is.
        record: What it says of itself.
    """

    folder: Path
    record: RunRecord

    @property
    def exports(self) -> Path:
        """Where its artifacts go."""
        return self.folder / "exports"

    @property
    def model_file(self) -> Path:
        """The trained model."""
        return self.folder / f"{self.record.preset}.keras"

    def split(self) -> list[SplitRow]:
        """Every image with its part of the split.

        Raises:
            RunError: The file is missing or damaged.
        """
        rows = []
        for row in _read_csv(self.folder / SPLIT, SPLIT_COLUMNS):
            if row["part"] not in PARTS or row["label"] not in self.record.labels:
                raise RunError(f"{self.folder / SPLIT} is damaged: it has the row {row}.")
            patient = row["patient"] or None
            image = KnownImage(row["name"], row["sha256"], row["label"], patient)
            rows.append(SplitRow(image, row["part"]))
        return rows

    @property
    def is_refit(self) -> bool:
        """Whether all images were trained on, and the figures are those of other models."""
        return self.record.evaluation.folds is not None

    @property
    def tested_file(self) -> Path:
        """The answers that the figures are of."""
        return self.folder / (OUT_OF_FOLD if self.is_refit else ANSWERS)

    def answers(self) -> list[Answer]:
        """The model's own stored answers, which exports are held against: on the test images.

        Where all images were trained on, on some of those; see ``evidence_parts``.

        Raises:
            RunError: The file is missing or damaged.
        """
        return self._read_answers(self.folder / ANSWERS)

    def tested_answers(self) -> list[Answer]:
        """The stored answers that the figures are of: on the test images.

        Where all images were trained on, those of the folds' models on all images.

        Raises:
            RunError: The file is missing or damaged.
        """
        return self._read_answers(self.tested_file)

    def _read_answers(self, path: Path) -> list[Answer]:
        labels = self.record.labels
        columns = ("name", "sha256", "label", *(f"p({label})" for label in labels))
        answers = []
        for row in _read_csv(path, columns):
            try:
                probabilities = tuple(float(row[f"p({label})"]) for label in labels)
            except ValueError as error:
                raise RunError(f"{path} is damaged: {error}.") from error
            if row["label"] not in labels or not all(0 <= p <= 1 for p in probabilities):
                raise RunError(f"{path} is damaged: it has the row {row}.")
            image = KnownImage(row["name"], row["sha256"], row["label"])
            answers.append(Answer(image, probabilities))
        return answers

    def open_images(self, elsewhere: Path | None = None) -> LabelledImages:
        """Opens the images where the run found them, or where they are now.

        Raises:
            DataError: They are not there.
        """
        location = elsewhere or self.folder / self.record.data.location
        try:
            return open_data(location)
        except DataError as error:
            raise DataError(
                f"The run's images cannot be opened: {error} Say where they are now with "
                "--data PATH."
            ) from error

    def evidence(self, images: LabelledImages) -> Evidence:
        """What an export of the run rests on."""
        rows = self._evidence_rows()
        by_name = {row.image.name: row.image for row in rows}
        parts = {
            part: [row.image for row in rows if row.part == part]
            for part in ("training", "validation")
        }
        held_out = [
            Answer(by_name.get(answer.image.name, answer.image), answer.probabilities)
            for answer in self.answers()
        ]
        return Evidence(images, parts["training"], held_out, self.record.seed, parts["validation"])

    def _evidence_rows(self) -> list[SplitRow]:
        rows, record = self.split(), self.record
        if not self.is_refit:
            return rows
        images = [row.image for row in rows]
        parts = evidence_parts(
            [image.label for image in images],
            [image.patient for image in images],
            [image.sha256 for image in images],
            record.seed,
            "image" if record.configuration.get("split") == "image" else "patient",
        )
        return [SplitRow(image, str(part)) for image, part in zip(images, parts, strict=True)]

    def source_model(self) -> SourceModel:
        """Loads the trained model and what its manifest needs; imports Keras.

        Raises:
            RunError: The model is missing, damaged, or not the one that the run trained.
        """
        model = load_keras_file(self.model_file)
        if weights_sha256(model) != self.record.weights_sha256:
            raise RunError(
                f"{self.model_file} is not the model that this run trained: its weights have "
                "another hash. Train again with `edgecell train`."
            )
        return source_model_of(self.record, model)


def source_model_of(record: RunRecord, model: Any) -> SourceModel:
    """A Keras model with what its manifest takes from the record of its run."""
    return SourceModel(
        name=record.preset,
        model=model,
        labels=record.labels,
        preprocessing=record.preprocessing,
        head=record.head,
        source=source_of(record),
        positive_label=record.positive_label,
        temperature=record.temperature,
        threshold=record.threshold,
        threshold_rule=record.threshold_rule,
        evaluation=evaluation_of(record),
    )


def find_run(path: Path | None) -> Run:
    """Reads a run: the given folder, or the latest in ``runs/``.

    Raises:
        RunError: There is none, or it is damaged.
    """
    folder = path or DEFAULT_RUNS / LATEST
    if not folder.is_dir() and path is not None and (DEFAULT_RUNS / path).is_dir():
        folder = DEFAULT_RUNS / path
    file = _resolved(folder) / RECORD
    if not file.is_file():
        if (folder / "fold-1" / RECORD).is_file():
            raise RunError(
                f"{folder} is a cross-validation, and none of its folds is better than another; "
                f"name one, such as {folder / 'fold-1'}."
            )
        where = f"{folder} is no run" if path else f"There is no run here ({folder} is missing)"
        raise RunError(
            f"{where}; expected a folder that `edgecell train` left. Run `edgecell train` first, "
            "or name the run's folder."
        )
    try:
        record = codec.loads(RunRecord, file.read_bytes(), RECORD)
    except (ManifestError, OSError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    return Run(file.parent, record)


def run_of_artifact(artifact: Path) -> Run | None:
    """The run in whose ``exports/`` an artifact lies; None where it lies elsewhere.

    Raises:
        RunError: It lies in a run that is damaged, or of another version.
    """
    folder = _resolved(artifact).parent.parent
    return find_run(folder) if (folder / RECORD).is_file() else None


def _resolved(path: Path) -> Path:
    """The path without links; as it is where links lead in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the latter before Python 3.13
        return path.absolute()


def point_latest(folder: Path) -> str:
    """Lets ``latest`` beside a run point to it; gives a sentence where that cannot be.

    A run is whole without it: some file systems have no links, and a copy of a folder of runs may
    have a folder in its place.
    """
    link = folder.parent / LATEST
    temporary = folder.parent / f".{LATEST}.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(folder.name)
            temporary.replace(link)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        return (
            f"{link} could not be made a link to the run ({reason}): what takes the latest run "
            f"does not find it. Name it, as {folder}, or move {link} away."
        )
    return ""


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as CSV; floats with all the digits that they need to be read back the same."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def weights_sha256(model: Any) -> str:
    """Hash of a Keras model's weights: order, shapes and values, whatever the layers are called."""
    digest = hashlib.sha256()
    for weight, values in zip(model.weights, values_of(model.weights), strict=True):
        digest.update(f"{weight.name} {values.shape} {values.dtype}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            found = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if not set(columns) <= found:
        raise RunError(f"{path} is damaged: expected the columns {', '.join(columns)}.")
    if any(None in row or None in row.values() for row in rows):
        raise RunError(f"{path} is damaged: a row has too few or too many fields.")
    return rows
