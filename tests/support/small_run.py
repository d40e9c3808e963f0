"""A small net in the shape of ``malaria-cnn`` and drawn cells, as a training run leaves them.

The weights are random; BatchNormalization has the statistics of the cells, as training leaves them.
"""

import dataclasses
import hashlib
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.drawn_cells import write_drawn_cells
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import IMAGES, Graph, for_floats, for_integers
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Answer, Evidence, KnownImage, SourceModel, source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_runtime.manifest import Source
from edgecell_runtime.patients import patient_of_name
from edgecell_runtime.preprocess import PreprocessSpec

LABELS = ("Parasitized", "Uninfected")
SPEC = PreprocessSpec(16, 16)
HEAD = Head("normalised_sigmoid")
HELD_OUT_PATIENTS = ("P1", "P2", "P3", "P4")
VALIDATION_PATIENTS = ("P5", "P6")


def build_small_model(pixels: NDArray[np.uint8]) -> Any:
    """Two convolutions with BatchNormalization behind pooling, two sigmoid outputs.

    Args:
        pixels: uint8 (n, 16, 16, 3), what the statistics are taken from.
    """
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input(SPEC.shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(momentum=0.0, name="norm"),
            layers.Conv2D(12, 3, padding="same", activation="relu", name="second"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(momentum=0.0),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(2, activation="sigmoid", name="last"),
        ]
    )
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            signs = rng.choice([-1, 1, 1, 1], layer.gamma.shape)
            layer.gamma.assign(signs * rng.uniform(0.3, 2, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
        elif hasattr(layer, "bias"):
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    model(pixels.astype(np.float32), training=True)  # sets the statistics
    spread_answers(model, pixels)
    return model


def spread_answers(model: Any, pixels: NDArray[np.uint8]) -> None:
    """Scales the last layer so that the logits have the mean 0 and the standard deviation 3."""
    answers = np.asarray(model.predict(pixels, verbose=0), np.float64)
    logits = np.log(answers / (1 - answers))
    last = model.get_layer("last")
    factor = 3 / logits.std(axis=0)
    last.set_weights([last.kernel.numpy() * factor, (last.bias - logits.mean(axis=0)) * factor])


def save(model: Any, path: Path) -> None:
    """Saves a Keras model; Keras 3.15 warns of its own use of NumPy there."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        model.save(path)


@dataclass(frozen=True)
class SmallRun:
    """What an export is given.

    Attributes:
        folder: Class folders with the cells, unpacked.
        source: The model.
        evidence: Its images and answers.
        pixels: uint8 (n, 16, 16, 3), all cells.
        model_file: The model, saved by Keras.
    """

    folder: Path
    source: SourceModel
    evidence: Evidence
    pixels: NDArray[np.uint8]
    model_file: Path

    def with_images(self, images: LabelledImages) -> Evidence:
        return dataclasses.replace(self.evidence, images=images)


def make_source(model: Any) -> SourceModel:
    """What a manifest needs beside the model."""
    return SourceModel(
        name="small",
        model=model,
        labels=LABELS,
        preprocessing=SPEC,
        head=HEAD,
        source=Source(weights_sha256="4" * 64, time="2026-01-02T03:04:05Z", drawn=True),
        positive_label="Parasitized",
    )


def draw_cells(
    folder: Path, count: int
) -> tuple[LabelledImages, list[KnownImage], NDArray[np.uint8]]:
    """Draws cells of ten patients into class folders.

    Returns:
        The images, what a run knows of each, and uint8 (n, 16, 16, 3).
    """
    write_drawn_cells(folder / "cells.zip", count=count, patients=10)
    with zipfile.ZipFile(folder / "cells.zip") as archive:
        archive.extractall(folder)
    images = open_labelled(folder / "cell_images")
    known, pixels = [], []
    for image in images:
        data = images.read(image)
        patient = patient_of_name(image.name)
        known.append(KnownImage(image.name, hashlib.sha256(data).hexdigest(), image.label, patient))
        pixels.append(SPEC.apply(data))
    return images, known, np.stack(pixels)


def split_cells(
    images: LabelledImages, known: Sequence[KnownImage], answers: NDArray[np.float64]
) -> Evidence:
    """Splits cells by patient: four for training, two for validation, four for testing.

    Args:
        images: See ``draw_cells``.
        known: Likewise.
        answers: float64 (n, labels), the source model's.
    """
    held_out = [
        Answer(image, tuple(map(float, answer)))
        for image, answer in zip(known, answers, strict=True)
        # A toss-up may fall to either side with the rounding of 8 bits.
        if image.patient in HELD_OUT_PATIENTS and abs(answer[0] - 0.5) > 0.1
    ]
    others = [image for image in known if image.patient not in HELD_OUT_PATIENTS]
    training = [image for image in others if image.patient not in VALIDATION_PATIENTS]
    validation = [image for image in others if image.patient in VALIDATION_PATIENTS]
    return Evidence(images, training, held_out, seed=7, validation=validation)


def make_small_run(folder: Path) -> SmallRun:
    """Lets a small net answer for 300 drawn cells."""
    images, known, pixels = draw_cells(folder, 300)
    model = build_small_model(pixels)
    save(model, folder / "small.keras")
    evidence = split_cells(images, known, source_probabilities(model, pixels, HEAD, LABELS))
    source = make_source(model)
    return SmallRun(folder / "cell_images", source, evidence, pixels, folder / "small.keras")


class Conversions:
    """Converts a prepared graph, each format and recipe once."""

    def __init__(self, graph: Graph, images: NDArray[np.uint8], folder: Path) -> None:
        self.graph, self._folder = graph, folder
        self.calibration = PixelFile(folder / "calibration", SPEC.shape)
        self.calibration.append(images)
        self._integer_graphs: dict[str, Graph] = {}

    def path(self, artifact_format: str, recipe: str) -> Path:
        """The model's file, or the folder of a SavedModel; not sealed."""
        converter = CONVERTERS[artifact_format]
        path = self._folder / f"{recipe}{converter.suffix}"
        if not path.exists():
            converter.convert(self.conversion(recipe), path)
        return path

    def conversion(self, recipe: str) -> Conversion:
        found = RECIPES[recipe]
        pixels = self.calibration if found.integer_weights else None
        if pixels is None:
            return Conversion(for_floats(self.graph), found, None)
        if recipe not in self._integer_graphs:
            self._integer_graphs[recipe] = for_integers(
                self.graph,
                self.calibration.first(IMAGES),
                largest=2 ** (found.weight_bits - 1) - 1,
                integer_activations=RECIPES[recipe].static,
            )
        return Conversion(self._integer_graphs[recipe], found, pixels)
