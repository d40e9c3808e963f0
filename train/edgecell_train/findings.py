"""What is found of a trained net: decided on the validation part, tested once, and recorded."""

import contextlib
import dataclasses
import datetime
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import logits_of_outputs
from edgecell_runtime.manifest import Evaluation
from edgecell_train import feeding
from edgecell_train.caveats import chance_note
from edgecell_train.config_files import scalars
from edgecell_train.cross_validation import CrossValidation
from edgecell_train.decisions import Decided, decide
from edgecell_train.distilling import teachers_note
from edgecell_train.feeding import LabelledPixels
from edgecell_train.fitting import Fitted
from edgecell_train.history import averages_note
from edgecell_train.preparing import Work
from edgecell_train.refitting import OutOfFold, refit_note
from edgecell_train.run_record import DataRecord, RunRecord
from edgecell_train.runs import DRAWN_CELLS, weights_sha256
from edgecell_train.same_images import alike_patients_note, copies_note
from edgecell_train.split import leak_note
from edgecell_train.statistics import Tested, evaluate_tested

_LIBRARIES: Final = (
    "edgecell",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "keras",
    "numpy",
    "pillow",
    "scikit-learn",
)


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers on some of the images.

    Attributes:
        rows: int (n,), where each image is among the decoded ones.
        probabilities: float64 (n, labels), calibrated.
        uncalibrated: float64 (n, labels), the same before the temperature.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    uncalibrated: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a training found, besides its record.

    Attributes:
        work: What was trained on.
        fitted: The model and its history.
        decided: How its answers become probabilities and decisions.
        evaluation: Its figures.
        tested: The answers that these are of.
        answered: The model's own on the test images; where it was trained on all, on some of them.
        out_of_fold: What ``tested`` is of where these are not the model's own; None where they are.
        folds: The cross-validation that these are from; None likewise.
    """

    work: Work
    fitted: Fitted
    decided: Decided
    evaluation: Evaluation
    tested: Tested
    answered: Answered
    out_of_fold: Answered | None = None
    folds: CrossValidation | None = None

    @property
    def disputed(self) -> tuple[str, ...]:
        """Names of images whose label somebody disputes."""
        names = (image.name for image in self.work.decoded.images)
        return tuple(name for name in names if name in self.work.job.disputed)


def found_by_testing(work: Work, fitted: Fitted) -> Findings:
    """Settles temperature and threshold on the validation part, then tests, once."""
    validation = work.part("validation")
    labels, head = work.labelling.labels, work.labelling.head
    logits = logits_of_outputs(feeding.answers(fitted.model, validation), head)
    decided = decide(
        work.job.config.decision, head, labels, work.positive, validation.truth, logits
    )
    rows = np.flatnonzero(work.parts == "test")
    answered = _answered(work, fitted, decided, rows)
    tested = Tested(
        work.part("test").truth,
        answered.probabilities,
        work.patients("test"),
        labels,
        work.positive,
        decided.threshold,
    )
    return Findings(work, fitted, decided, evaluate_tested(tested), tested, answered)


def found_out_of_fold(work: Work, fitted: Fitted, folds: OutOfFold) -> Findings:
    """Takes over what the folds of a cross-validation found, where nobody is left to test on."""
    every = np.arange(len(work.parts))
    return Findings(
        work,
        fitted,
        folds.decided,
        dataclasses.replace(folds.result.pooled, folds=folds.result.folds),
        folds.tested,
        _answered(work, fitted, folds.decided, folds.compared_on),
        Answered(every, folds.tested.probabilities, folds.uncalibrated),
        folds.result,
    )


def _answered(work: Work, fitted: Fitted, decided: Decided, rows: NDArray[np.int64]) -> Answered:
    labels, head = work.labelling.labels, work.labelling.head
    images = LabelledPixels(work.decoded.pixels, np.zeros(len(rows), np.int64), rows)
    logits = logits_of_outputs(feeding.answers(fitted.model, images), head)
    return Answered(
        rows,
        head.probabilities(logits, labels, decided.temperature),
        head.probabilities(logits, labels),
    )


def record_of(found: Findings) -> RunRecord:
    """What the run says of itself."""
    work, fitted, decided = found.work, found.fitted, found.decided
    job = work.job
    return RunRecord(
        preset=job.preset.name,
        configuration=scalars(job.config),
        seed=job.config.seed,
        labels=work.labelling.labels,
        positive_label=work.positive,
        preprocessing=work.spec,
        head=work.labelling.head,
        data=_data_record(work),
        weights_sha256=weights_sha256(fitted.model),
        versions=_versions(),
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        evaluation=found.evaluation,
        kept_epoch=fitted.kept_epoch,
        temperature=decided.temperature,
        threshold=decided.threshold,
        threshold_rule=decided.rule,
        training_notes=_notes(found),
    )


def _notes(found: Findings) -> tuple[str, ...]:
    work, decoded = found.work, found.work.decoded
    patients = [image.patient for image in decoded.images]
    notes = (
        *work.job.notes,
        "" if found.folds is None else refit_note(found.folds, found.fitted.kept_epoch),
        leak_note(patients, work.parts),
        copies_note(
            decoded.sha256,
            [image.label for image in decoded.images],
            patients,
            work.parts.tolist(),
        ),
        teachers_note(work.job.config),
        averages_note(found.fitted.kept) if found.fitted.kept_epoch else "",
        found.fitted.note,
        found.decided.note,
        chance_note(found.evaluation, found.tested),
    )
    return tuple(filter(None, notes))


def _data_record(work: Work) -> DataRecord:
    images, decoded, drawn = work.images, work.decoded, work.job.drawn
    patients = [image.patient for image in decoded.images]
    return DataRecord(
        location=DRAWN_CELLS if drawn else str(images.location.resolve()),
        sha256=decoded.data_sha256,
        images=len(patients),
        patients=len(set(patients) - {None}),
        without_patient=patients.count(None),
        unreadable=tuple(name for name, _ in decoded.unreadable),
        notes=(*images.notes, *decoded.notes, *filter(None, [alike_patients_note(patients)])),
        drawn=drawn,
    )


def _versions() -> dict[str, str]:
    """Of the libraries that are installed: with JAX there need not be a TensorFlow."""
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
