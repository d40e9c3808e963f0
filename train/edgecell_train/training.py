"""From labelled images to a finished run."""

import contextlib
import datetime
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, TrainingError
from edgecell_runtime.files import replacing, storage_errors
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train import checkpoints, feeding, optimization
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.config import TrainConfig
from edgecell_train.config_files import scalars
from edgecell_train.decisions import Decided, decide, logits_of_outputs
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.decoding import Decoded, decode
from edgecell_train.fitting import Fitted, LabelledPixels, Subject, fit
from edgecell_train.labelling import Labelling, head_of, positive_label, preprocessing
from edgecell_train.presets import Preset
from edgecell_train.run_writing import Findings, write_run
from edgecell_train.runs import (
    DRAWN_CELLS,
    DataRecord,
    Run,
    RunRecord,
    point_latest,
    weights_sha256,
)
from edgecell_train.split import Fold, leak_note, split
from edgecell_train.statistics import Tested, evaluate_tested

__all__ = ["Job", "Outcome", "Watcher", "averages_note", "positive_label", "train"]

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
class Job:
    """One training.

    Attributes:
        preset: The model.
        config: Every option.
        drawn: Whether the images are drawn cells, which then become part of the run.
        cache: Where decoded images are kept for the next training; None keeps none.
        disputed: Names of images whose label somebody disputes.
    """

    preset: Preset
    config: TrainConfig
    drawn: bool = False
    cache: DecodedCache | None = None
    disputed: frozenset[str] = frozenset()


class Watcher(Protocol):
    """Follows a training."""

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        """Begins a stage; what it returns is called with steps done, all steps, and words."""

    def left(self, folder: Path) -> None:
        """Told where a training that fails or is interrupted left what it can go on from."""


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        run: The run that it left.
        decoded: The images, in memory.
        parts: str (n,), the part of the split of each image.
        probabilities: float64 (test images, labels), the model's answers, calibrated.
    """

    run: Run
    decoded: Decoded
    parts: NDArray[np.str_]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class _Work:
    """What is known once the images are read."""

    job: Job
    images: LabelledImages
    positive: str | None
    labelling: Labelling
    spec: PreprocessSpec
    decoded: Decoded
    parts: NDArray[np.str_]

    @property
    def subject(self) -> Subject:
        return Subject(self.job.preset, self.job.config, self.spec.shape, self.labelling)

    def part(self, name: str) -> LabelledPixels:
        rows = np.flatnonzero(self.parts == name)
        index = {label: i for i, label in enumerate(self.images.labels)}
        truth = np.array([index[self.decoded.images[row].label] for row in rows], np.int64)
        return LabelledPixels(self.decoded.pixels, truth, rows)

    def patients(self, name: str) -> list[str | None]:
        return [self.decoded.images[i].patient for i in np.flatnonzero(self.parts == name)]


def train(
    images: LabelledImages,
    job: Job,
    runs: Path,
    watcher: Watcher,
    unfinished: Unfinished | None = None,
) -> Outcome:
    """Trains, tests once on the test patients, and leaves a run.

    The run gets its name at the end. Interrupted after the first epochs, a training leaves the
    hidden folder that it can go on from, and nothing else.

    Args:
        images: The labelled images.
        job: What to train and how.
        runs: Folder of runs; ``latest`` in it points to the new one.
        watcher: Follows the progress.
        unfinished: The training that goes on; None begins one.

    Raises:
        UsageError: The options make no sense, for these images or at all.
        DataError: The images cannot be used, or are not those of the unfinished training.
        TrainingError: Training diverged.
        RunError: The unfinished training is damaged.
        StorageError: The run could not be written; nothing was left of it.
    """
    work = _prepare(images, job, runs, watcher)
    decoded = work.decoded
    unfinished = unfinished or checkpoints.begin(
        runs,
        UnfinishedRecord(job.preset.name, job.config, decoded.data_sha256, images.labels),
    )
    with _kept(unfinished, watcher):
        _require_same_data(unfinished, work)
        fitted = fit(
            work.subject,
            work.part("training"),
            work.part("validation"),
            watcher.stage("Training"),
            unfinished,
        )
        told = watcher.stage("Testing")
        decided = _decide(work, fitted)
        found = _findings(work, fitted, decided)
        record = _record(work, fitted, decided, found.tested)
        folder = _new_folder(runs, record)
        with replacing(folder) as temporary:
            write_run(temporary, record, found)
            if job.drawn:
                images.close()
                images.location.replace(temporary / DRAWN_CELLS)
        point_latest(folder)
    unfinished.remove()
    told(1, 1, "")
    return Outcome(Run(folder.resolve(), record), decoded, work.parts, found.tested.probabilities)


def averages_note(fitted: Fitted) -> str:
    """What estimating BatchNormalization's averages anew did to the kept epoch; may be empty."""
    kept = fitted.kept
    if kept.validation_loss_before is None or kept.validation_accuracy_before is None:
        return ""
    return (
        "BatchNormalization's averages were estimated anew at the end of every epoch (Wu and "
        f"Johnson 2021). In the kept epoch, {kept.epoch}, that took the validation loss from "
        f"{kept.validation_loss_before:.3f} to {kept.validation_loss:.3f}, and the accuracy from "
        f"{kept.validation_accuracy_before:.2%} to {kept.validation_accuracy:.2%}."
    )


@contextlib.contextmanager
def _kept(unfinished: Unfinished, watcher: Watcher) -> Iterator[None]:
    """Leaves what a training can go on from when it does not come to its end."""
    try:
        yield
    except TrainingError:
        unfinished.remove()  # going on would diverge again
        raise
    except BaseException:
        if unfinished.has_state:
            unfinished.release()
            watcher.left(unfinished.folder)
        else:
            unfinished.remove()
        raise


def _prepare(images: LabelledImages, job: Job, runs: Path, watcher: Watcher) -> _Work:
    """Checks all that can be checked, then reads and splits the images."""
    config = job.config
    optimization.check(config)
    positive = positive_label(images.labels, config.positive or None)
    labelling = Labelling(images.labels, head_of(job.preset, images.labels, positive))
    spec = preprocessing(job.preset, config.size)
    _require_writable(runs)
    reading = watcher.stage("Reading images")
    decoded = decode(
        images,
        spec,
        lambda done, total: reading(done, total, ""),
        cache=job.cache,
        memory_mb=config.memory_mb,
    )
    parts = split(
        [image.label for image in decoded.images],
        [image.patient for image in decoded.images],
        config.seed,
        [image.part for image in decoded.images],
        config.split,
        Fold(config.fold, config.folds) if config.folds else None,
    )
    return _Work(job, images, positive, labelling, spec, decoded, parts)


def _require_writable(runs: Path) -> None:
    """Finds out before the training, and not after it, whether a run can be put there."""
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs):
            pass


def _require_same_data(unfinished: Unfinished, work: _Work) -> None:
    record = unfinished.record
    if record.data_sha256 != work.decoded.data_sha256 or record.labels != work.images.labels:
        raise DataError(
            f"The images are not those that {unfinished.folder} was training on: their hash has "
            "changed. Put those back, or train anew without --resume."
        )


def _decide(work: _Work, fitted: Fitted) -> Decided:
    validation = work.part("validation")
    labels, head = work.labelling.labels, work.labelling.head
    logits = logits_of_outputs(feeding.answers(fitted.model, validation), head)
    return decide(work.job.config.decision, head, labels, work.positive, validation.truth, logits)


def _findings(work: _Work, fitted: Fitted, decided: Decided) -> Findings:
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


def _data_record(work: _Work) -> DataRecord:
    images, decoded, drawn = work.images, work.decoded, work.job.drawn
    patients = [image.patient for image in decoded.images]
    return DataRecord(
        location=DRAWN_CELLS if drawn else str(images.location.resolve()),
        sha256=decoded.data_sha256,
        images=len(patients),
        patients=len(set(patients) - {None}),
        without_patient=patients.count(None),
        unreadable=tuple(name for name, _ in decoded.unreadable),
        notes=(*images.notes, *decoded.notes),
        drawn=drawn,
    )


def _record(work: _Work, fitted: Fitted, decided: Decided, tested: Tested) -> RunRecord:
    job, patients = work.job, [image.patient for image in work.decoded.images]
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
        evaluation=evaluate_tested(tested),
        kept_epoch=fitted.kept_epoch,
        temperature=decided.temperature,
        threshold=decided.threshold,
        threshold_rule=decided.rule,
        training_notes=tuple(
            filter(None, (leak_note(patients, work.parts), averages_note(fitted), decided.note))
        ),
    )


def _versions() -> dict[str, str]:
    """Of the libraries that are installed: with JAX there need not be a TensorFlow."""
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _new_folder(runs: Path, record: RunRecord) -> Path:
    stamp = datetime.datetime.fromisoformat(record.time).strftime("%Y%m%d-%H%M%S")
    folder = runs / f"{stamp}-{record.preset}"
    number = 2
    while folder.exists():
        folder = runs / f"{stamp}-{record.preset}-{number}"
        number += 1
    return folder
