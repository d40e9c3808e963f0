"""From labelled images to a finished run."""

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, RunError, TrainingError
from edgecell_runtime.files import adding, replacing
from edgecell_runtime.labelled import LabelledImages
from edgecell_train import checkpoints, integer_tuning, optimization
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.decoding import Decoded
from edgecell_train.distilling import Teacher, find_teachers, load_teachers
from edgecell_train.findings import found_by_testing, found_out_of_fold, record_of
from edgecell_train.fitting import Fitted, Subject, fit
from edgecell_train.integer_tuning import Parts
from edgecell_train.labelling import positive_label
from edgecell_train.preparing import Job, Watcher, Work, prepare
from edgecell_train.presets.base import KerasModel
from edgecell_train.refitting import find_refit, out_of_fold
from edgecell_train.run_record import RunRecord
from edgecell_train.run_writing import write_run
from edgecell_train.runs import DRAWN_CELLS, RECORD, Run, find_run, point_latest

__all__ = ["Job", "Outcome", "Report", "Watcher", "finished_run", "positive_label", "train"]


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        run: The run that it left.
        decoded: The images, in memory.
        parts: str (n,), the part of the split of each image.
        probabilities: float64 (test images, labels), the model's answers, calibrated; of the
            images in ``answers.csv``.
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
    taught_by, refit = find_teachers(job.config), find_refit(job.config)
    work = prepare(images, job, runs, watcher)
    decoded = work.decoded
    folds = None if refit is None else out_of_fold(refit, work)
    teachers = load_teachers(taught_by, work)
    unfinished = unfinished or checkpoints.begin(
        runs,
        UnfinishedRecord(job.preset.name, job.config, decoded.data_sha256, images.labels),
    )
    with _kept(unfinished, watcher):
        _require_same_data(unfinished, work)
        parts = Parts(work.part("training"), work.part("validation") if folds is None else None)
        fitted = _fitted(_subject(work, teachers, unfinished), parts, watcher, unfinished)
        told = watcher.stage("Testing")
        if folds is None:
            found = found_by_testing(work, fitted)
        else:
            found = found_out_of_fold(work, fitted, folds)
        record = record_of(found)
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
        found.answered.probabilities,
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
    """A subject that is built where there is room for what its training writes.

    Attributes:
        unfinished: Where its state is kept.
        keeps_start: See ``Job``.
    """

    unfinished: Unfinished
    keeps_start: bool

    def build(self) -> KerasModel:
        model = super().build()
        # When it is built again at the end, its state lies there.
        if not self.unfinished.has_state:
            size = optimization.training_bytes(model, self.config.optimizer)
            besides = size.model
            if self.config.quantization.epochs:  # then the last state of the fitting stays
                tuning = optimization.training_bytes(model, integer_tuning.OPTIMIZER)
                besides += 2 * tuning.state - size.state
            self.unfinished.require_room(size.state, besides)
        return model


def _fitted(subject: _Roomy, parts: Parts, watcher: Watcher, unfinished: Unfinished) -> Fitted:
    """Fits, and fine-tunes where that is asked for."""
    tunes = subject.config.quantization.epochs > 0
    if tunes:
        integer_tuning.require_tunable(subject)
    fitted = fit(subject, parts.training, parts.validation, watcher.stage("Training"), unfinished)
    if subject.keeps_start:
        fitted = dataclasses.replace(fitted, model=subject.build(), kept_epoch=0)
    if not tunes:
        return fitted
    return integer_tuning.tune(subject, fitted, parts, watcher.stage("Fine-tuning"), unfinished)


def _subject(work: Work, teachers: tuple[Teacher, ...], unfinished: Unfinished) -> _Roomy:
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
        keeps_start=work.job.keeps_start,
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
