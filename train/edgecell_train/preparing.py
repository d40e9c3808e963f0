"""All that a training does before its net is built: checks, reading the images, the split."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.files import storage_errors
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import TrainConfig
from edgecell_train.config_checks import check
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.decoding import Decoded, decode
from edgecell_train.feeding import LabelledPixels
from edgecell_train.kept_splits import Dealt, kept_split
from edgecell_train.labelling import Labelling, head_of, positive_label, preprocessing
from edgecell_train.presets import Preset
from edgecell_train.runs import SplitRow
from edgecell_train.same_images import kept_together
from edgecell_train.split import Fold, split


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        preset: The model.
        config: Every option.
        drawn: Whether the images are drawn cells, which then become part of the run.
        cache: Where decoded images and splits are kept for the next training; None keeps none.
        disputed: Names of images whose label somebody disputes.
        name: Of the run's folder; empty takes the time and the preset.
        split: Of an earlier run, which is kept, patients included; empty deals one.
        notes: Sentences on where the preset came from, for the run's record.
        keeps_start: Whether the weights that the preset begins with are kept whatever the epochs
            bring, which are known to bring nothing.
    """

    preset: Preset
    config: TrainConfig
    drawn: bool = False
    cache: DecodedCache | None = None
    disputed: frozenset[str] = frozenset()
    name: str = ""
    split: tuple[SplitRow, ...] = ()
    notes: tuple[str, ...] = ()
    keeps_start: bool = False


class Watcher(Protocol):
    """Follows a training."""

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        """Begins a stage; what it returns is called with steps done, all steps, and words."""

    def left(self, folder: Path) -> None:
        """Told where a training that fails or is interrupted left what it can go on from."""


@dataclass(frozen=True)
class Work:
    """What is known once the images are read.

    Attributes:
        job: What is trained and how.
        images: The open set.
        positive: The positive label, if there is one.
        labelling: The labels, and the head.
        spec: The preprocessing.
        decoded: The readable images.
        parts: str (n,), the part of the split of each image.
    """

    job: Job
    images: LabelledImages
    positive: str | None
    labelling: Labelling
    spec: PreprocessSpec
    decoded: Decoded
    parts: NDArray[np.str_]

    def part(self, name: str) -> LabelledPixels:
        """The images of one part of the split."""
        rows = np.flatnonzero(self.parts == name)
        index = {label: i for i, label in enumerate(self.images.labels)}
        truth = np.array([index[self.decoded.images[row].label] for row in rows], np.int64)
        return LabelledPixels(self.decoded.pixels, truth, rows)

    def patients(self, name: str) -> list[str | None]:
        """The patient of each image of one part."""
        return [self.decoded.images[i].patient for i in np.flatnonzero(self.parts == name)]


def prepare(images: LabelledImages, job: Job, runs: Path, watcher: Watcher) -> Work:
    """Checks all that can be checked, then reads and splits the images.

    Args:
        images: The labelled images.
        job: What to train and how.
        runs: Folder of runs.
        watcher: Follows the reading.

    Raises:
        UsageError: The options make no sense, for these images or at all.
        DataError: The images cannot be used.
        StorageError: No run can be put there.
    """
    config = job.config
    check(config)
    _require_images_of(job.split, images)
    positive = positive_label(images.labels, config.positive or None)
    labelling = Labelling(images.labels, head_of(job.preset, images.labels, positive))
    spec = preprocessing(job.preset, config.size)
    if spec.depth is not None and config.quantization.epochs:
        raise UsageError(
            f"{job.preset.name} takes volumes, and quantization-aware fine-tuning is for images "
            "alone. Leave quantization.epochs out."
        )
    _require_writable(runs)
    reading = watcher.stage("Reading images")
    decoded = decode(
        images,
        spec,
        lambda done, total: reading(done, total, ""),
        cache=job.cache,
        memory_mb=config.memory_mb,
    )
    if job.split:
        decoded, parts = _as_before(job.split, decoded)
    else:
        parts = _parts(job, decoded)
    return Work(job, images, positive, labelling, spec, decoded, parts)


def _require_images_of(rows: Sequence[SplitRow], images: LabelledImages) -> None:
    """Finds out before an image is read that a set is another one."""
    names = {image.name for image in images}
    absent = [row.image.name for row in rows if row.image.name not in names]
    if absent:
        raise DataError(
            f"{images.location} does not hold the images of the run: {absent[0]} is not there. Say "
            "where they are with --data PATH."
        )


def _parts(job: Job, decoded: Decoded) -> NDArray[np.str_]:
    """The split, from the cache where it was dealt before; all are trained on in a refit."""
    config, images = job.config, decoded.images
    if config.refit:
        return np.full(len(images), "training", dtype="<U10")
    labels, given = [image.label for image in images], [image.part for image in images]
    known = [None if config.split == "image" else image.patient for image in images]
    groups = kept_together(known, decoded.sha256, given)
    fold = Fold(config.fold, config.folds) if config.folds else None
    return kept_split(
        job.cache,
        Dealt(labels, groups, given, (config.seed, config.fold, config.folds)),
        lambda: split(labels, groups, config.seed, given, fold=fold),
    )


def _as_before(rows: Sequence[SplitRow], decoded: Decoded) -> tuple[Decoded, NDArray[np.str_]]:
    """The images with the parts and the patients that an earlier run knew them by.

    Raises:
        DataError: They are not the images of that run.
    """
    known = {row.image.name: row for row in rows}
    found = {image.name: sha for image, sha in zip(decoded.images, decoded.sha256, strict=True)}
    if found != {name: row.image.sha256 for name, row in known.items()}:
        raise DataError(
            f"The images are not those of the run: it knows {len(known):,}, and of {len(found):,} "
            "here names or hashes differ. Say where its own images are with --data PATH."
        )
    images = [replace(one, patient=known[one.name].image.patient) for one in decoded.images]
    parts = np.array([known[one.name].part for one in images], np.str_)
    return replace(decoded, images=tuple(images)), parts


def _require_writable(runs: Path) -> None:
    """Finds out before the training, and not after it, whether a run can be put there."""
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs):
            pass
