"""Evaluations as the command ``evaluate`` makes them: right answers on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.answers import Answers, ImageFile, LateFile, Skipped, answer_all
from edgecell.tasks.artifacts import artifact_path, open_artifact
from edgecell.tasks.disputed import disputed_images
from edgecell.tasks.trained_on import warn_of_training_images
from edgecell_export.card import figure_text, figures
from edgecell_export.source import KnownImage
from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import DataError
from edgecell_runtime.files import write_text
from edgecell_runtime.labelled import LabelledImage, LabelledImages
from edgecell_runtime.manifest import Evaluation, Manifest
from edgecell_runtime.printable import printable_name
from edgecell_runtime.stored_images import image_sha256
from edgecell_runtime.wording import counted
from edgecell_train.hdf5_images import open_data
from edgecell_train.patient_table import PatientRow, patient_rows, patients_csv
from edgecell_train.statistics import Tested, evaluate_tested


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        artifact: The artifact's path.
        data: Folder or file of labelled images.
        threads: For the engine; None takes the CPUs that this process may use.
        strict: Stop at the first image that cannot be read.
        patients: CSV with each image's patient; None takes them from names and mapping files.
        disputed: CSV with the images whose label is disputed; None for none.
    """

    artifact: Path
    data: Path
    threads: int | None = None
    strict: bool = False
    patients: Path | None = None
    disputed: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """What came out.

    Attributes:
        artifact: The artifact's path.
        loosened: Whether its limits of parity were widened by hand.
        threshold: Decision threshold on the positive label's probability.
        evaluation: The figures.
        skipped: Images that could not be read.
        by_patient: The figures of each patient.
        undisputed: The figures without images whose label is disputed; None where there are none.
    """

    artifact: str
    loosened: bool
    threshold: float
    evaluation: Evaluation
    skipped: tuple[Skipped, ...]
    by_patient: tuple[PatientRow, ...]
    undisputed: Evaluation | None = None


def evaluate_artifact(request: Request) -> Evaluated:
    """Classifies every image of a set and compares with its labels.

    Raises:
        EdgecellError: Artifact or images cannot be used, or have other labels than each other.
    """
    artifact = read_artifact(artifact_path(request.artifact))
    manifest = artifact.manifest
    with open_data(request.data, patients=request.patients, minimum_labels=1) as images:
        _require_labels(images, manifest)
        disputed = disputed_images(images, request.disputed)
        for note in images.notes:
            console.warn(note)
        wanted = images.tested_on()
        if len(wanted) < len(images):
            console.warn(
                f"The set brings a test part along: {len(wanted):,} of its "
                f"{counted(len(images), 'image')} are scored."
            )
        with open_artifact(artifact, request.threads, len(wanted)) as classifier:
            hashes: dict[str, str] = {}
            files = [_hashed_file(images, image, hashes) for image in wanted]
            answers = answer_all(classifier, files, strict=request.strict)
        by_name = {image.name: image for image in wanted}
    known = [by_name[answer.image] for answer in answers.answered]
    tested = _tested(known, answers, manifest)
    evaluation = evaluate_tested(tested)
    _say_what_to_know(known, evaluation, manifest)
    warn_of_training_images(
        artifact,
        [KnownImage(one.name, hashes[one.name], one.label, one.patient) for one in known],
    )
    return Evaluated(
        artifact=printable_name(str(artifact.path)),
        loosened=manifest.loosened,
        threshold=manifest.threshold,
        evaluation=evaluation,
        skipped=answers.skipped,
        by_patient=tuple(patient_rows(tested)),
        undisputed=_undisputed(tested, [image.name in disputed for image in known]),
    )


def write_patients(evaluated: Evaluated, path: Path) -> None:
    """Writes the figures of each patient as CSV.

    Raises:
        StorageError: The file could not be written.
    """
    write_text(path, patients_csv(evaluated.by_patient))
    console.say(f"Written to {path}")


def _undisputed(tested: Tested, disputed: list[bool]) -> Evaluation | None:
    wanted = ~np.array(disputed)
    if wanted.all():
        return None
    if not wanted.any():
        console.warn("Every image has a disputed label: there are no figures without those.")
        return None
    return evaluate_tested(tested.only(wanted))


def _require_labels(images: LabelledImages, manifest: Manifest) -> None:
    if not set(images.labels) <= set(manifest.labels):
        raise DataError(
            f"{images.location} has images of the classes {', '.join(images.labels)}; the "
            f"artifact's labels are {', '.join(manifest.labels)}. Name the class folders after "
            "them, or evaluate an artifact of that data."
        )


def _hashed_file(images: LabelledImages, image: LabelledImage, hashes: dict[str, str]) -> ImageFile:
    """The image of a set; reading it leaves its hash in ``hashes``."""

    def read() -> bytes:
        data = images.read(image)
        assert isinstance(data, bytes)
        hashes[image.name] = image_sha256(data)
        return data

    if not images.in_arrays:
        return ImageFile(image.name, LateFile(read))
    row = images.read(image)  # a view of the array, which takes no memory
    hashes[image.name] = image_sha256(row)
    return ImageFile(image.name, row)


def _tested(images: Sequence[LabelledImage], answers: Answers, manifest: Manifest) -> Tested:
    labels = manifest.labels
    return Tested(
        np.array([labels.index(image.label) for image in images]),
        np.array([list(answer.prediction.probabilities.values()) for answer in answers.answered]),
        [image.patient for image in images],
        labels,
        manifest.positive_label,
        manifest.threshold,
    )


def _say_what_to_know(
    images: Sequence[LabelledImage], evaluation: Evaluation, manifest: Manifest
) -> None:
    lone = sum(image.patient is None for image in images)
    present = {image.label for image in images}
    if lone:
        console.warn(
            f"{counted(lone, 'image')} of {evaluation.n:,} without a patient, each counted as a "
            "patient of its own; if patients gave several, the intervals are too narrow."
        )
    elif evaluation.patients == 1:
        console.warn(
            "All images come from one patient, who says nothing about others: the intervals are "
            "0 to 1."
        )
    if manifest.positive_label is None:
        console.warn("The artifact has no positive label: sensitivity and AUC are not shown.")
    elif len(present) == 1:
        console.warn(f"All images are {present.pop()}: what needs another class is not shown.")


def document(evaluated: Evaluated) -> Json:
    """The result for machines; a figure without a meaning is null."""
    return {
        "artifact": evaluated.artifact,
        "loosened": evaluated.loosened,
        "threshold": evaluated.threshold,
        **_figures(evaluated.evaluation),
        "undisputed": None if evaluated.undisputed is None else _figures(evaluated.undisputed),
        "skipped": codec.encode(evaluated.skipped),
    }


def _figures(evaluation: Evaluation) -> dict[str, Json]:
    """Every figure, null where it has no meaning."""
    return {
        field.name: codec.encode(getattr(evaluation, field.name)) for field in fields(evaluation)
    }


def result_table(evaluated: Evaluated) -> Table:
    """The figures for people."""
    evaluation = evaluated.evaluation
    patients = evaluation.patients
    people = counted(patients, "patient") if patients else "no known patient"
    mark = ", LOOSENED," if evaluated.loosened else ""
    columns: tuple[str, ...] = ("figure", "value (95 % interval)")
    rows: list[tuple[str, ...]] = [
        (name, figure_text(figure)) for name, figure in figures(evaluation)
    ]
    if evaluated.undisputed is not None:
        without = dict(figures(evaluated.undisputed))
        disputed = evaluation.n - evaluated.undisputed.n
        columns += (f"without {counted(disputed, 'disputed image')}",)
        rows = [(*row, figure_text(without[row[0]]) if row[0] in without else "-") for row in rows]
    return Table(
        f"{Path(evaluated.artifact).name}{mark} on {counted(evaluation.n, 'image')}, {people}, "
        f"threshold {evaluated.threshold:.3g} (the accuracy is of the likeliest label)",
        columns,
        rows,
    )


def raw_tables(evaluated: Evaluated) -> list[Table]:
    """The figures with all their digits, for files."""
    evaluation = evaluated.evaluation
    sample = [
        ("n", str(evaluation.n), "", ""),
        ("patients", str(evaluation.patients), "", ""),
        ("threshold", str(evaluated.threshold), "", ""),
    ]
    columns = ("figure", "value", "low", "high")
    rows = [*sample, *_raw_rows(evaluation, "")]
    if evaluated.undisputed is not None:
        without = evaluated.undisputed
        rows.append(("undisputed n", str(without.n), "", ""))
        rows += _raw_rows(without, "undisputed ")
    return [Table(evaluated.artifact, columns, rows)]


def _raw_rows(evaluation: Evaluation, mark: str) -> list[tuple[str, str, str, str]]:
    return [
        (mark + name, str(figure.value), str(figure.low), str(figure.high))
        for name, figure in figures(evaluation)
    ]
