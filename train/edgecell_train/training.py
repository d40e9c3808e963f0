"""From labelled images to a finished run."""

import contextlib
import datetime
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime import codec
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import replacing, storage_errors
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation
from edgecell_train import plots
from edgecell_train.decoding import Decoded, decode
from edgecell_train.fitting import FitOptions, Fitted, LabelledPixels, fit
from edgecell_train.presets import Preset
from edgecell_train.presets.base import KerasModel
from edgecell_train.runs import (
    ANSWERS,
    DRAWN_CELLS,
    HISTORY,
    RECORD,
    SPLIT,
    SPLIT_COLUMNS,
    DataRecord,
    Run,
    RunRecord,
    csv_text,
    point_latest,
    weights_sha256,
)
from edgecell_train.split import split
from edgecell_train.statistics import evaluate

POSITIVE_BY_DEFAULT: Final = "Parasitized"

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
class TrainConfig:
    """What to train and how.

    Attributes:
        preset: The model and its recipe.
        options: Epochs, batch size and seed.
        positive: The positive label; None takes ``Parasitized`` where there is that label.
        drawn: Whether the images are drawn cells, which then become part of the run.
    """

    preset: Preset
    options: FitOptions
    positive: str | None = None
    drawn: bool = False


class Watcher(Protocol):
    """Follows a training."""

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        """Begins a stage; what it returns is called with steps done, all steps, and words."""


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        run: The run that it left.
        decoded: The images, in memory.
        parts: str (n,), the part of the split of each image.
        probabilities: float64 (test images, labels), the model's answers.
    """

    run: Run
    decoded: Decoded
    parts: NDArray[np.str_]
    probabilities: NDArray[np.float64]


def train(images: LabelledImages, config: TrainConfig, runs: Path, watcher: Watcher) -> Outcome:
    """Trains, tests once on the test patients, and leaves a run.

    The run gets its name at the end; interrupted, nothing is left.

    Args:
        images: The labelled images.
        config: What to train and how.
        runs: Folder of runs; ``latest`` in it points to the new one.
        watcher: Follows the progress.

    Raises:
        UsageError: The positive label is no label.
        DataError: The images cannot be used.
        TrainingError: Training diverged.
        StorageError: The run could not be written; nothing was left.
    """
    positive = positive_label(images.labels, config.positive)
    _require_writable(runs)
    preset = config.preset
    reading = watcher.stage("Reading images")
    decoded = decode(images, preset.preprocessing, lambda done, total: reading(done, total, ""))
    parts = split(
        [image.label for image in decoded.images],
        [image.patient for image in decoded.images],
        config.options.seed,
    )
    truth = np.array([images.labels.index(image.label) for image in decoded.images])
    training, validation = (
        LabelledPixels(decoded.pixels[parts == part], truth[parts == part])
        for part in ("training", "validation")
    )
    fitted = fit(preset, config.options, training, validation, watcher.stage("Training"))
    testing = watcher.stage("Testing")
    test = parts == "test"
    probabilities = source_probabilities(
        fitted.model, decoded.pixels[test], preset.head, images.labels
    )
    evaluation = evaluate(
        truth[test],
        probabilities,
        [decoded.images[i].patient for i in np.flatnonzero(test)],
        labels=images.labels,
        positive_label=positive,
        threshold=0.5,
    )
    data = _data_record(images, decoded, config.drawn)
    record = _record(config, images.labels, positive, data, fitted, evaluation)
    folder = _new_folder(runs, record)
    with replacing(folder) as temporary:
        _write(temporary, record, fitted, decoded, parts, probabilities)
        if config.drawn:
            images.close()
            images.location.replace(temporary / DRAWN_CELLS)
    point_latest(folder)
    testing(1, 1, "")
    return Outcome(Run(folder.resolve(), record), decoded, parts, probabilities)


def positive_label(labels: tuple[str, ...], asked: str | None) -> str | None:
    """The positive label: the one asked for, ``Parasitized`` where there is one, or none.

    Raises:
        UsageError: The one asked for is no label.
    """
    if asked is None:
        return POSITIVE_BY_DEFAULT if POSITIVE_BY_DEFAULT in labels else None
    if asked not in labels:
        raise UsageError(f"--positive {asked} is none of the labels; they are {', '.join(labels)}.")
    return asked


def _require_writable(runs: Path) -> None:
    """Finds out before the training, and not after it, whether a run can be put there."""
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs):
            pass


def _data_record(images: LabelledImages, decoded: Decoded, drawn: bool) -> DataRecord:
    patients = [image.patient for image in decoded.images]
    return DataRecord(
        location=DRAWN_CELLS if drawn else str(images.location.resolve()),
        sha256=decoded.data_sha256,
        images=len(patients),
        patients=len(set(patients) - {None}),
        without_patient=patients.count(None),
        unreadable=tuple(name for name, _ in decoded.unreadable),
        notes=images.notes,
        drawn=drawn,
    )


def _record(
    config: TrainConfig,
    labels: tuple[str, ...],
    positive: str | None,
    data: DataRecord,
    fitted: Fitted,
    evaluation: Evaluation,
) -> RunRecord:
    preset, options = config.preset, config.options
    return RunRecord(
        preset=preset.name,
        configuration={
            "preset": preset.name,
            "epochs": options.epochs,
            "batch_size": options.batch_size,
        },
        seed=options.seed,
        labels=labels,
        positive_label=positive,
        preprocessing=preset.preprocessing,
        head=preset.head,
        data=data,
        weights_sha256=weights_sha256(fitted.model),
        versions=_versions(),
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        evaluation=evaluation,
        kept_epoch=fitted.kept_epoch,
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


def _write(
    folder: Path,
    record: RunRecord,
    fitted: Fitted,
    decoded: Decoded,
    parts: NDArray[np.str_],
    probabilities: NDArray[np.float64],
) -> None:
    folder.mkdir()
    (folder / RECORD).write_text(codec.dumps(record, indent=2), encoding="utf-8")
    _save_model(fitted.model, folder / f"{record.preset}.keras")
    rows = list(zip(decoded.images, decoded.sha256, parts, strict=True))
    _write_csv(
        folder / SPLIT,
        SPLIT_COLUMNS,
        [(image.name, image.label, image.patient, part, sha) for image, sha, part in rows],
    )
    tested = [(image, sha) for image, sha, part in rows if part == "test"]
    _write_csv(
        folder / ANSWERS,
        ("name", "sha256", "label", *(f"p({label})" for label in record.labels)),
        [
            (image.name, sha, image.label, *(float(p) for p in answer))
            for (image, sha), answer in zip(tested, probabilities, strict=True)
        ],
    )
    _write_csv(
        folder / HISTORY,
        ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"),
        [
            (r.epoch, r.loss, r.accuracy, r.validation_loss, r.validation_accuracy)
            for r in fitted.history
        ],
    )
    (folder / "history.png").write_bytes(plots.history(fitted.history))


def _save_model(model: KerasModel, path: Path) -> None:
    # The same graph and weights without the optimiser's state, which is twice their size.
    bare = import_keras().Model(model.inputs, model.outputs, name="model")
    with warnings.catch_warnings():
        # Keras hands its variables to h5py in a way that NumPy 2 has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        bare.save(path)


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.write_bytes(csv_text(columns, rows).encode("utf-8", errors="surrogateescape"))
