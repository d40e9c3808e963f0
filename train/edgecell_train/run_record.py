"""What a run says of itself, in ``run.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgecell_runtime.codec import Scalar
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.preprocess import PreprocessSpec


@dataclass(frozen=True)
class DataRecord:
    """The labelled images of a run.

    Attributes:
        location: Folder or zip; relative to the run where it lies inside.
        sha256: Over the readable images' names and bytes.
        images: Readable images.
        patients: Patients that they come from; 0 where none is known.
        without_patient: Images whose patient is unknown.
        unreadable: Names of images that could not be read.
        notes: Sentences on what was ignored.
        drawn: Whether the program drew them.
    """

    location: str
    sha256: str
    images: int
    patients: int
    without_patient: int
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    drawn: bool = False


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself, in ``run.json``.

    Attributes:
        preset: Name of the preset.
        configuration: Every option of the training under its dotted name, paths left out.
        seed: Of split, weights and order.
        labels: In the order of the model's classes.
        positive_label: What a positive decision means, if anything.
        preprocessing: Of the images.
        head: Of the model.
        data: The images.
        weights_sha256: Of the trained weights.
        versions: Of the libraries.
        time: When training ended, ISO 8601, UTC.
        evaluation: On the test patients; where all images were trained on, of the folds' models.
        kept_epoch: The epoch whose weights were kept; 0 where those were that it began with.
        temperature: Divides the logits; fitted on the validation patients, or on the folds' answers
            where all images were trained on.
        threshold: Of the decision, on the positive label's probability.
        threshold_rule: How that was chosen.
        training_notes: Sentences on how training went.
        schema_version: 1.
    """

    preset: str
    configuration: Mapping[str, Scalar]
    seed: int
    labels: tuple[str, ...]
    positive_label: str | None
    preprocessing: PreprocessSpec
    head: Head
    data: DataRecord
    weights_sha256: str
    versions: Mapping[str, str]
    time: str
    evaluation: Evaluation
    kept_epoch: int = 0
    temperature: float = 1.0
    threshold: float = 0.5
    threshold_rule: str = "fixed"
    training_notes: tuple[str, ...] = ()
    schema_version: Literal[1] = 1

    @property
    def decided_on(self) -> str:
        """What the temperature and the threshold were settled on, in words."""
        if self.evaluation.folds is not None:
            return "the answers of a cross-validation's folds"
        people = self.data.patients and self.configuration.get("split") != "image"
        return "the validation patients" if people else "the validation images"
