"""What export is given: a trained Keras model, what its manifest needs, and labelled images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell_export.keras_graph import KerasModel
from edgecell_runtime.errors import PreparationError
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation, Source
from edgecell_runtime.preprocess import PreprocessSpec

_BATCH = 256
_SMALLEST = 1e-300
"""A probability of 0 has no logarithm."""

_BATCH_VALUES = 1 << 22
"""Pixel values in a batch: of a large volume, one makes a gigabyte between the layers."""


@dataclass(frozen=True)
class SourceModel:
    """A trained model and what its manifest says of it.

    Attributes:
        name: Of the files that are written.
        model: The Keras model.
        labels: In the order of its classes.
        preprocessing: What it was trained with.
        head: How its outputs become probabilities.
        source: Where it came from.
        positive_label: What a positive decision means, if anything.
        temperature: Divides the logits before the head.
        threshold: Decision threshold on the positive label's probability.
        threshold_rule: How that was chosen.
        evaluation: Its figures on held-out images, if there are any.
    """

    name: str
    model: KerasModel
    labels: tuple[str, ...]
    preprocessing: PreprocessSpec
    head: Head
    source: Source
    positive_label: str | None = None
    temperature: float = 1.0
    threshold: float = 0.5
    threshold_rule: str = "fixed"
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class KnownImage:
    """An original image file that the run knew.

    Attributes:
        name: In its set.
        sha256: Of the file.
        label: Its class.
        patient: Whom it is of; None where that is unknown.
    """

    name: str
    sha256: str
    label: str
    patient: str | None = None


@dataclass(frozen=True)
class Answer:
    """The source model's stored answer for one held-out image.

    Attributes:
        image: The image.
        probabilities: By label.
    """

    image: KnownImage
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Evidence:
    """The images that an export rests on.

    Attributes:
        images: Where the files are.
        training: Images of training patients; calibration data comes from these.
        validation: Images of validation patients; choices are made on these.
        held_out: Images of test patients with the source model's answers; parity uses these.
        seed: Of both selections.
    """

    images: LabelledImages
    training: Sequence[KnownImage]
    held_out: Sequence[Answer]
    seed: int
    validation: Sequence[KnownImage] = ()


def source_probabilities(
    model: KerasModel,
    pixels: NDArray[np.uint8],
    head: Head,
    labels: tuple[str, ...],
    temperature: float = 1.0,
) -> NDArray[np.float64]:
    """The source model's own answers, before any conversion.

    Args:
        model: A Keras model that ends in the activation of its head.
        pixels: uint8 (n, height, width, channels), or volumes with a depth before the height,
            preprocessed, 0-255.
        head: Of the model.
        labels: In the order of the model's classes.
        temperature: Divides the logits, as artifacts do.

    Returns:
        float64 (n, labels), rows summing to 1.

    Raises:
        PreparationError: The model answers with values that are not numbers.
    """
    outputs = source_outputs(model, pixels)
    if temperature != 1:
        return head.probabilities(logits_of_outputs(outputs, head), labels, temperature)
    if head.kind == "softmax":
        return outputs
    if head.kind == "sigmoid":
        columns = [outputs[:, 0] if label == head.label else 1 - outputs[:, 0] for label in labels]
        return np.stack(columns, axis=1)
    total: NDArray[np.float64] = outputs.sum(axis=1, keepdims=True)
    return outputs / np.maximum(total, np.finfo(np.float32).tiny)


def logits_of_outputs(outputs: NDArray[np.floating], head: Head) -> NDArray[np.float64]:
    """The logits behind a Keras model's outputs, its last activation undone.

    Args:
        outputs: float (n, outputs), 0-1, as the model gives them; see ``source_outputs``.
        head: Of the model.

    Returns:
        float64 (n, outputs), finite. Of a softmax they are known up to a number for each image,
        which changes no probability.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if head.kind in ("softmax", "probabilities"):
        return np.log(np.maximum(values, _SMALLEST))
    # A sigmoid in float32 ends at 1: what lies between it and the number below is not known.
    nearest = 1 - float(np.finfo(np.float32).epsneg) / 2
    inside = np.clip(values, float(np.finfo(np.float32).tiny), nearest)
    return np.log(inside) - np.log1p(-inside)


def source_outputs(model: KerasModel, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a Keras model answers, its last activation included.

    Args:
        model: The model.
        pixels: uint8 (n, height, width, channels), or volumes with a depth before the height,
            preprocessed, 0-255.

    Returns:
        float64 (n, outputs).

    Raises:
        PreparationError: The model fails, or answers with values that are not numbers.
    """
    batch = min(_BATCH, max(1, _BATCH_VALUES // math.prod(pixels.shape[1:])))
    try:
        outputs = np.asarray(model.predict(pixels, batch_size=batch, verbose=0), np.float64)
    except Exception as error:  # Keras raises of every kind
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise PreparationError(
            f"The model cannot compute its own answers: {said} Expected a model that Keras runs; "
            "mend it, then export again."
        ) from error
    if not np.isfinite(outputs).all():
        raise PreparationError(
            "The model answers with values that are not numbers; its training diverged. Train it "
            "again with a lower learning rate."
        )
    return outputs
