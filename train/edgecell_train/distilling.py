"""Teachers: trained models whose answers a smaller one learns, beside the labels.

Hinton et al. 2015, on the images as they are augmented for the learner (Beyer et al. 2022), so that
it meets the teachers' answers to images that nobody has labelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.heads import Head
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Distillation, TrainConfig
from edgecell_train.cross_validation import fold_name, is_cross_validation, stored_config
from edgecell_train.labelling import Labelling
from edgecell_train.preparing import Work
from edgecell_train.presets.base import KerasModel
from edgecell_train.runs import Run, find_run

Tensor = Any
"""A tensor of Keras's backend."""

_TINY: Final = 1e-7
"""The smallest probability whose logarithm is taken."""

_NEW: Final = {"test": ("training", "validation"), "validation": ("training",)}
"""The parts of this training, and those of a teacher's that share no patient with them."""


@dataclass(frozen=True)
class Teacher:
    """A trained model.

    Attributes:
        model: Takes pixels (n, *shape), 0-255.
        head: How its outputs become probabilities.
        temperature: That was fitted on its validation patients.
    """

    model: KerasModel
    head: Head
    temperature: float


def find_teachers(config: TrainConfig) -> tuple[Run, ...]:
    """The runs that a configuration names as teachers.

    Args:
        config: Its ``teachers`` are runs, or folders of cross-validations, of which the fold that
            is trained is taken; all of them in a refit.

    Raises:
        UsageError: One is a cross-validation, and no fold is trained.
        RunError: There is no such run, or it is damaged.
    """
    return tuple(run for name in config.teachers for run in _find(Path(name), config))


def load_teachers(runs: Sequence[Run], work: Work) -> tuple[Teacher, ...]:
    """Loads teachers, when they may teach on these images.

    Args:
        runs: What ``find_teachers`` found.
        work: What they are to teach on.

    Raises:
        UsageError: A teacher has other labels or other pixels.
        DataError: A teacher knows patients whom this training tests on or chooses by.
        RunError: A run is damaged.
    """
    for run in runs:
        _require_fitting(run, work)
        _require_unseen(run, work)
    return tuple(
        Teacher(run.source_model().model, run.record.head, run.record.temperature) for run in runs
    )


def teachers_note(config: TrainConfig) -> str:
    """Says who taught; empty where nobody did."""
    if not config.teachers:
        return ""
    names = ", ".join(Path(name).name for name in config.teachers)
    share = config.distillation.weight
    return f"It learned from the answers of {names} ({share:.0%} of the loss) beside the labels."


def lesson(teachers: Sequence[Teacher], labelling: Labelling, config: Distillation) -> Any:
    """A layer that hands a learner's outputs on, and adds to the loss how it differs from them.

    It takes the pixels, float32 (n, *shape), 0-255, and the learner's outputs (n, outputs), its
    last activation included. The cross-entropy with the mean of the teachers' probabilities, times
    ``config.weight`` and the temperature squared, is added to the loss; nothing in the teachers is
    trained.

    Args:
        teachers: One or more.
        labelling: What the learner's outputs mean.
        config: How much it counts.
    """
    keras = import_keras()
    ops = keras.ops
    labels, base = labelling.labels, keras.layers.Layer

    class Lesson(base):  # type: ignore[misc,valid-type]
        """Compares with the teachers while it trains."""

        def __init__(self) -> None:
            super().__init__(name="lesson", dtype="float32")
            self.models = [teacher.model for teacher in teachers]
            for model in self.models:
                model.trainable = False

        def call(self, inputs: tuple[Tensor, Tensor], training: bool = False) -> Tensor:
            pixels, outputs = inputs
            if training:
                told = [
                    _softened(
                        model(_resized(ops, pixels, model.input_shape), training=False),
                        teacher.head,
                        labels,
                        teacher.temperature * config.temperature,
                    )
                    for model, teacher in zip(self.models, teachers, strict=True)
                ]
                target = ops.stop_gradient(sum(told) / len(told))
                found = _softened(outputs, labelling.head, labels, config.temperature)
                entropy = -ops.sum(target * ops.log(found), axis=-1)
                self.add_loss(config.weight * config.temperature**2 * ops.mean(entropy))
            return outputs

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape[1]

    return Lesson()


def _softened(outputs: Tensor, head: Head, labels: tuple[str, ...], temperature: float) -> Tensor:
    """Probabilities by label, (n, labels), of outputs with their activation, at a temperature."""
    ops = import_keras().ops
    outputs = ops.cast(outputs, "float32")
    if head.kind == "sigmoid":
        first = labels[0] == head.label
        pair = (outputs, 1 - outputs) if first else (1 - outputs, outputs)
        outputs = ops.concatenate(pair, axis=-1)
    powers = ops.power(ops.clip(outputs, _TINY, 1.0), 1 / temperature)
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def _resized(ops: Any, pixels: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """The images at a teacher's size."""
    size = tuple(shape[1:-1])
    if tuple(pixels.shape[1:-1]) == size:
        return pixels
    return ops.image.resize(
        pixels, size, interpolation="bilinear", antialias=True, data_format="channels_last"
    )


def _find(path: Path, config: TrainConfig) -> list[Run]:
    if not is_cross_validation(path):
        return [find_run(path)]
    if config.refit:
        folds = range(1, stored_config(path).folds + 1)
        return [find_run(path / fold_name(number)) for number in folds]
    if not config.fold:
        raise UsageError(
            f"--teacher {path} is a cross-validation, whose folds were trained on each other's "
            "test patients. Train with the same --folds, or name one of its folds."
        )
    return [find_run(path / fold_name(config.fold))]


def _require_fitting(run: Run, work: Work) -> None:
    record, labels = run.record, work.labelling.labels
    if record.labels != labels:
        raise UsageError(
            f"--teacher {run.folder} knows the labels {', '.join(record.labels)}, and the images "
            f"have {', '.join(labels)}; expected the same, in the same order."
        )
    theirs, ours = record.preprocessing, work.spec
    if _pixels(theirs) != _pixels(ours) or (theirs.depth and theirs.shape != ours.shape):
        raise UsageError(
            f"--teacher {run.folder} takes {_words(theirs)} images, and this net takes "
            f"{_words(ours)} ones; expected the same (another size will do, but not of volumes)."
        )


def _pixels(spec: PreprocessSpec) -> tuple[object, ...]:
    return spec.color_mode, spec.background, spec.depth is None


def _words(spec: PreprocessSpec) -> str:
    return f"{' x '.join(map(str, spec.shape[:-1]))} {spec.color_mode}"


def _require_unseen(run: Run, work: Work) -> None:
    """What is tested and chosen on here is new to the teacher too.

    Raises:
        DataError: The teacher learned from a test or validation patient, or was chosen on a test
            patient; the figures would be too good.
    """
    rows = run.split()
    by_image = work.job.config.split == "image"
    for part, theirs in _NEW.items():
        seen = [row.image for row in rows if row.part in theirs]
        known = {image.sha256 for image in seen}
        people = set() if by_image else {image.patient for image in seen} - {None}
        for place in np.flatnonzero(work.parts == part):
            image = work.decoded.images[place]
            if image.patient in people or work.decoded.sha256[place] in known:
                who = f"patient {image.patient}" if image.patient in people else image.name
                raise DataError(
                    f"--teacher {run.folder} knows {who}, of the {part} part of this training, so "
                    "that the figures would be too good. Train both on the same data with the "
                    "same --seed and --folds."
                )
