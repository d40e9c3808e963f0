"""Evaluations as the command ``evaluate`` makes them: right answers on labelled images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.answers import Answers, ImageFile, LateFile, Skipped, answer_all
from edgecell.tasks.artifacts import open_artifact
from edgecell_export.card import figure_text, figures
from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import DataError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, data_sha256, open_labelled
from edgecell_runtime.manifest import Evaluation, Manifest
from edgecell_runtime.printable import printable_name
from edgecell_train.statistics import evaluate


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        artifact: The artifact's path.
        loosened: Whether its limits of parity were widened by hand.
        data: Folder or zip of labelled images.
        threads: For the engine; None takes the CPUs that this process may use.
        strict: Stop at the first image that cannot be read.
    """

    artifact: Path
    data: Path
    threads: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class Evaluated:
    """What came out.

    Attributes:
        artifact: The artifact's path.
        loosened: Whether its limits of parity were widened by hand.
        threshold: Decision threshold on the positive label's probability.
        evaluation: The figures.
        skipped: Images that could not be read.
    """

    artifact: str
    loosened: bool
    threshold: float
    evaluation: Evaluation
    skipped: tuple[Skipped, ...]


def evaluate_artifact(request: Request) -> Evaluated:
    """Classifies every image of a set and compares with its labels.

    Raises:
        EdgecellError: Artifact or images cannot be used, or have other labels than each other.
    """
    artifact = read_artifact(request.artifact)
    manifest = artifact.manifest
    with open_labelled(request.data, minimum_labels=1) as images:
        _require_labels(images, manifest)
        for note in images.notes:
            console.warn(note)
        with open_artifact(artifact, request.threads, len(images)) as classifier:
            hashes: dict[str, str] = {}
            files = [_hashed_file(images, image, hashes) for image in images]
            answers = answer_all(classifier, files, strict=request.strict)
        by_name = {image.name: image for image in images}
    known = [by_name[answer.image] for answer in answers.answered]
    evaluation = _evaluation(known, answers, manifest)
    _say_what_to_know(known, evaluation, manifest)
    _warn_of_training_images(artifact, answers, hashes)
    return Evaluated(
        artifact=printable_name(str(artifact.path)),
        loosened=manifest.loosened,
        threshold=manifest.threshold,
        evaluation=evaluation,
        skipped=answers.skipped,
    )


def _require_labels(images: LabelledImages, manifest: Manifest) -> None:
    if not set(images.labels) <= set(manifest.labels):
        raise DataError(
            f"{images.location} has images of the classes {', '.join(images.labels)}; the "
            f"artifact's labels are {', '.join(manifest.labels)}. Name the class folders after "
            "them, or evaluate an artifact of that data."
        )


def _hashed_file(images: LabelledImages, image: LabelledImage, hashes: dict[str, str]) -> ImageFile:
    """The image of a set; reading it leaves the hash of its file in ``hashes``."""

    def read() -> bytes:
        data = images.read(image)
        hashes[image.name] = hashlib.sha256(data).hexdigest()
        return data

    return ImageFile(image.name, LateFile(read))


def _evaluation(
    images: Sequence[LabelledImage], answers: Answers, manifest: Manifest
) -> Evaluation:
    labels = manifest.labels
    return evaluate(
        np.array([labels.index(image.label) for image in images]),
        np.array([list(answer.prediction.probabilities.values()) for answer in answers.answered]),
        [image.patient for image in images],
        labels=labels,
        positive_label=manifest.positive_label,
        threshold=manifest.threshold,
    )


def _say_what_to_know(
    images: Sequence[LabelledImage], evaluation: Evaluation, manifest: Manifest
) -> None:
    lone = sum(image.patient is None for image in images)
    present = {image.label for image in images}
    if lone:
        console.warn(
            f"{lone:,} of {evaluation.n:,} images carry no patient and count as one of their own "
            "each; if patients gave several, the intervals are too narrow."
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


def _warn_of_training_images(artifact: Artifact, answers: Answers, hashes: dict[str, str]) -> None:
    pairs = [(hashes[answer.image], answer.image) for answer in answers.answered]
    if data_sha256(pairs) == artifact.manifest.source.data_sha256:
        console.warn(
            "These are the very images that the model was made with, training patients included: "
            f"the figures are too good. `edgecell inspect {artifact.path}` shows those on unseen "
            "patients."
        )


def document(evaluated: Evaluated) -> Json:
    """The result for machines; a figure without a meaning is null."""
    figures_of_sample = codec.encode(evaluated.evaluation)
    assert isinstance(figures_of_sample, dict)
    return {
        "artifact": evaluated.artifact,
        "loosened": evaluated.loosened,
        "threshold": evaluated.threshold,
        **figures_of_sample,
        "skipped": codec.encode(evaluated.skipped),
    }


def result_table(evaluated: Evaluated) -> Table:
    """The figures for people."""
    evaluation = evaluated.evaluation
    noun = "patient" if evaluation.patients == 1 else "patients"
    people = f"{evaluation.patients:,} {noun}" if evaluation.patients else "no known patient"
    mark = ", LOOSENED," if evaluated.loosened else ""
    return Table(
        f"{Path(evaluated.artifact).name}{mark} on {evaluation.n:,} images, {people}, threshold "
        f"{evaluated.threshold:g}",
        ("figure", "value (95 % interval)"),
        [(name, figure_text(figure)) for name, figure in figures(evaluation)],
    )


def raw_table(evaluated: Evaluated) -> Table:
    """The figures with all their digits, for files."""
    evaluation = evaluated.evaluation
    rows = [
        (name, str(figure.value), str(figure.low), str(figure.high))
        for name, figure in figures(evaluation)
    ]
    sample = [
        ("n", str(evaluation.n), "", ""),
        ("patients", str(evaluation.patients), "", ""),
        ("threshold", str(evaluated.threshold), "", ""),
    ]
    return Table(evaluated.artifact, ("figure", "value", "low", "high"), [*sample, *rows])
