"""From labelled images to a finished run."""

import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import logits_of_outputs
from edgecell_runtime.errors import DataError, RunError, TrainingError
from edgecell_runtime.files import adding, replacing
from edgecell_runtime.labelled import LabelledImages
from edgecell_train import checkpoints, feeding, optimization
from edgecell_train.caveats import chance_note
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.config_files import scalars
from edgecell_train.decisions import Decided, decide
from edgecell_train.decoding import Decoded
from edgecell_train.distilling import Teacher, find_teachers, load_teachers, teachers_note
from edgecell_train.fitting import Fitted, Subject, fit
from edgecell_train.history import averages_note
from edgecell_train.labelling import positive_label
from edgecell_train.preparing import Job, Watcher, Work, prepare
from edgecell_train.presets.base import KerasModel
from edgecell_train.run_writing import Findings, write_run
from edgecell_train.runs import (
    DRAWN_CELLS,
    RECORD,
    DataRecord,
    Run,
    RunRecord,
    find_run,
    point_latest,
    weights_sha256,
)
from edgecell_train.same_images import alike_patients_note, copies_note
from edgecell_train.split import leak_note
from edgecell_train.statistics import Tested, evaluate_tested

__all__ = ["Job", "Outcome", "Report", "Watcher", "finished_run", "positive_label", "train"]

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


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        run: The run that it left.
        decoded: The images, in memory.
        parts: str (n,), the part of the split of each image.
        probabilities: float64 (test images, labels), the model's answers, calibrated.
        notes: Sentences on what could not be done beside it.
    """

    run: Run
    decoded: Decoded
    parts: NDArray[np.str_]
    probabilities: NDArray[np.float64]
    notes: tuple[str, ...] = ()


Report = Callable[[Run, LabelledImages, KerasModel], None]
"""Adds what shows people how a run turned out, from its open images and its loaded model."""


def train(
    images: LabelledImages,
    job: Job,
    runs: Path,
    watcher: Watcher,
    unfinished: Unfinished | None = None,
    report: Report | None = None,
) -> Outcome:
    """Trains, tests once on the test patients, and leaves a run.

    The run gets its name at the end, when all that belongs to it is written. Interrupted after the
    first epochs, a training leaves the hidden folder that it can go on from, and nothing else.

    Args:
        images: The labelled images.
        job: What to train and how.
        runs: Folder of runs; ``latest`` in it points to the new one.
        watcher: Follows the progress.
        unfinished: The training that goes on; None begins one.
        report: Adds to the run before it gets its name; None adds nothing.

    Raises:
        UsageError: The options make no sense, for these images or at all.
        DataError: The images cannot be used, or are not those of the unfinished training.
        TrainingError: Training diverged.
        RunError: The unfinished training is damaged.
        StorageError: The run could not be written; nothing was left of it.
    """
    taught_by = find_teachers(job.config)
    work = prepare(images, job, runs, watcher)
    decoded = work.decoded
    teachers = load_teachers(taught_by, work)
    unfinished = unfinished or checkpoints.begin(
        runs,
        UnfinishedRecord(job.preset.name, job.config, decoded.data_sha256, images.labels),
    )
    with _kept(unfinished, watcher):
        _require_same_data(unfinished, work)
        fitted = fit(
            _subject(work, teachers, unfinished),
            work.part("training"),
            work.part("validation"),
            watcher.stage("Training"),
            unfinished,
        )
        told = watcher.stage("Testing")
        decided = _decide(work, fitted)
        found = _findings(work, fitted, decided)
        record = _record(work, fitted, decided, found.tested)
        told(1, 1, "")
        tried: list[Path] = []

        def tell(place: Path) -> None:
            tried.append(place)
            unfinished.name_run(place.name)

        with _placed(runs, job, record, tell) as temporary:
            write_run(temporary, record, found)
            if report is not None:
                told = watcher.stage("Writing the report")
                report(Run(temporary, record), images, fitted.model)
                told(1, 1, "")
            if job.drawn:
                images.close()
                images.location.replace(temporary / DRAWN_CELLS)
        folder = tried[-1]
        note = point_latest(folder)
    unfinished.remove()
    return Outcome(
        Run(folder.resolve(), record),
        decoded,
        work.parts,
        found.tested.probabilities,
        (note,) if note else (),
    )


def finished_run(unfinished: Unfinished) -> Run | None:
    """The run of a training that was interrupted when all was written; None where it goes on.

    ``latest`` points to it, and nothing is left to go on from.

    Raises:
        RunError: The run is damaged.
        StorageError: The link could not be made.
    """
    folder = unfinished.folder.parent / (unfinished.run_name or unfinished.folder.name)
    if not (folder / RECORD).is_file():
        return None
    run = find_run(folder)
    point_latest(folder)
    unfinished.remove()
    return run


@dataclass(frozen=True, kw_only=True)
class _Roomy(Subject):
    """A subject that is built where there is room for what its training writes."""

    unfinished: Unfinished

    def build(self) -> KerasModel:
        model = super().build()
        # When it is built again at the end, its state lies there.
        if not self.unfinished.has_state:
            size = optimization.training_bytes(model, self.config.optimizer)
            self.unfinished.require_room(size.state, size.model)
        return model


def _subject(work: Work, teachers: tuple[Teacher, ...], unfinished: Unfinished) -> Subject:
    known = unfinished.state_bytes
    if known:  # at least half of a state are the weights, twice
        unfinished.require_room(known, known // 2)
    return _Roomy(
        work.job.preset,
        work.job.config,
        work.spec.shape,
        work.labelling,
        teachers,
        unfinished=unfinished,
    )


@contextlib.contextmanager
def _kept(unfinished: Unfinished, watcher: Watcher) -> Iterator[None]:
    """Leaves what a training can go on from when it does not come to its end."""
    try:
        yield
    except TrainingError:
        unfinished.remove()  # going on would diverge again
        raise
    except RunError:
        unfinished.release()  # its state is damaged, and nothing goes on from it
        raise
    except BaseException:
        if unfinished.has_state:
            unfinished.release()
            watcher.left(unfinished.folder)
        else:
            unfinished.remove()
        raise


def _require_same_data(unfinished: Unfinished, work: Work) -> None:
    record = unfinished.record
    if record.data_sha256 != work.decoded.data_sha256 or record.labels != work.images.labels:
        raise DataError(
            f"The images are not those that {unfinished.folder} was training on: their hash has "
            "changed. Put those back, or train anew without --resume."
        )


def _decide(work: Work, fitted: Fitted) -> Decided:
    validation = work.part("validation")
    labels, head = work.labelling.labels, work.labelling.head
    logits = logits_of_outputs(feeding.answers(fitted.model, validation), head)
    return decide(work.job.config.decision, head, labels, work.positive, validation.truth, logits)


def _findings(work: Work, fitted: Fitted, decided: Decided) -> Findings:
    """Tests the model, once."""
    testing = work.part("test")
    labels, head = work.labelling.labels, work.labelling.head
    logits = logits_of_outputs(feeding.answers(fitted.model, testing), head)
    tested = Tested(
        testing.truth,
        head.probabilities(logits, labels, decided.temperature),
        work.patients("test"),
        labels,
        work.positive,
        decided.threshold,
    )
    disputed = [image.name for image in work.decoded.images if image.name in work.job.disputed]
    return Findings(
        config=work.job.config,
        fitted=fitted,
        decoded=work.decoded,
        parts=work.parts,
        tested=tested,
        uncalibrated=head.probabilities(logits, labels),
        disputed=tuple(disputed),
    )


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


def _record(work: Work, fitted: Fitted, decided: Decided, tested: Tested) -> RunRecord:
    job, patients = work.job, [image.patient for image in work.decoded.images]
    evaluation = evaluate_tested(tested)
    notes = (
        leak_note(patients, work.parts),
        copies_note(
            work.decoded.sha256,
            [image.label for image in work.decoded.images],
            patients,
            work.parts.tolist(),
        ),
        teachers_note(job.config),
        averages_note(fitted.kept),
        decided.note,
        chance_note(evaluation, tested),
    )
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
        evaluation=evaluation,
        kept_epoch=fitted.kept_epoch,
        temperature=decided.temperature,
        threshold=decided.threshold,
        threshold_rule=decided.rule,
        training_notes=tuple(filter(None, notes)),
    )


def _versions() -> dict[str, str]:
    """Of the libraries that are installed: with JAX there need not be a TensorFlow."""
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@contextlib.contextmanager
def _placed(
    runs: Path, job: Job, record: RunRecord, tell: Callable[[Path], None]
) -> Iterator[Path]:
    """A temporary folder that gets the run's name at the end; ``tell`` is told of it before."""
    if not job.name:
        with adding(_names(runs, record), tell) as temporary:
            yield temporary
        return
    with replacing(runs / job.name) as temporary:
        yield temporary
        tell(runs / job.name)


def _names(runs: Path, record: RunRecord) -> Iterator[Path]:
    stamp = datetime.datetime.fromisoformat(record.time).strftime("%Y%m%d-%H%M%S")
    yield runs / f"{stamp}-{record.preset}"
    for number in itertools.count(2):
        yield runs / f"{stamp}-{record.preset}-{number}"
