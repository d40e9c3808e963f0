"""A net that trains in a moment, cells to train it on, and a watcher that can interrupt."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecell.drawn_cells import write_drawn_cells
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head, HeadKind
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.checkpoints import Unfinished
from edgecell_train.config import TrainConfig
from edgecell_train.fitting import LabelledPixels
from edgecell_train.labelling import Labelling
from edgecell_train.presets import Preset
from edgecell_train.runs import Run
from edgecell_train.training import Job, Outcome, train
from support.chain_models import CHAIN
from support.pictures import encoded, gradient

SPEC = PreprocessSpec(12, 12)
CONFIG = TrainConfig(preset="tiny", epochs=2, batch_size=32, seed=3)
PATIENTS = 20
LABELLING = Labelling(("Parasitized", "Uninfected"), Head("normalised_sigmoid"))


def build_tiny(shape: tuple[int, ...], labels: int) -> Any:
    """Pixels, unscaled, so that the averages of BatchNormalization have a long way to go."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(4, 3, strides=3, activation="relu"),
            layers.Dropout(0.3, name="dropout"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(labels, activation="sigmoid", dtype="float32"),
        ]
    )


def make_preset(
    build: Callable[[tuple[int, ...], int], Any] = build_tiny,
    head: HeadKind = "normalised_sigmoid",
) -> Preset:
    return Preset("tiny", "a net", "nowhere", SPEC, head, CONFIG, build)


TINY = make_preset()


def bright_and_dark(count: int, seed: int = 0) -> LabelledPixels:
    """Noise, one class a little brighter than the other."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(count) % 2)
    noise = rng.normal(0, 25, (count, *SPEC.shape))
    means = np.where(truth == 0, 150, 110).reshape(-1, 1, 1, 1)
    return LabelledPixels(np.clip(means + noise, 0, 255).astype(np.uint8), truth)


class Watcher:
    """Follows a training, and interrupts it in the stage of a name.

    Attributes:
        seen: Of each stage, what it was told.
        folders: Where a training was left.
    """

    def __init__(self, interrupt: str | None = None) -> None:
        self.seen: dict[str, list[tuple[int, int, str]]] = {}
        self.folders: list[Path] = []
        self._interrupt = interrupt

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        told = self.seen.setdefault(name, [])

        def tell(done: int, total: int, words: str) -> None:
            told.append((done, total, words))
            if name == self._interrupt and done >= 2:
                raise KeyboardInterrupt

        return tell

    def left(self, folder: Path) -> None:
        self.folders.append(folder)


def write_cells(folder: Path) -> Path:
    """200 drawn cells of 20 patients, one damaged file, and one image without a patient."""
    write_drawn_cells(folder / "cells.zip", count=200, patients=PATIENTS)
    with zipfile.ZipFile(folder / "cells.zip") as archive:
        archive.extractall(folder)
    cells = folder / "cell_images"
    (cells / "Parasitized" / "C1P1ThinF_IMG_broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (cells / "Uninfected" / "lone.png").write_bytes(encoded(gradient(), "PNG"))
    return cells


def train_tiny(
    data: Path,
    runs: Path,
    *,
    preset: Preset = TINY,
    config: TrainConfig = CONFIG,
    drawn: bool = False,
    watcher: Watcher | None = None,
    unfinished: Unfinished | None = None,
) -> Outcome:
    with open_labelled(data) as images:
        job = Job(preset, config, drawn)
        return train(images, job, runs, watcher or Watcher(), unfinished)


def chain_run(folder: Path) -> Run:
    """A run of a net that can be compressed, on drawn cells of 20 patients."""
    write_drawn_cells(folder / "cells.zip", count=320, patients=PATIENTS)
    return train_tiny(folder / "cells.zip", folder / "runs", preset=CHAIN, config=CHAIN.recipe).run


def contents(folder: Path) -> dict[str, str]:
    """What is below a folder, hidden files too: a hash of each file, where each link points."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = digest
        else:
            found[str(path.relative_to(folder))] = "folder"
    return found
