"""Handing images to Keras: from memory or a memory map in batches, or once for all onto a GPU."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_train.presets.base import KerasModel

MAX_RESIDENT_BYTES: Final = 8 << 30
"""Images of more bytes are handed over in batches, however large the device is."""

_BATCH_VALUES: Final = 1 << 22
"""Pixel values in a batch: of a large volume, one makes a gigabyte between the layers."""


@dataclass(frozen=True)
class LabelledPixels:
    """Images of one part of the split.

    Attributes:
        pixels: uint8 (N, height, width, channels) or (N, depth, height, width, channels), 0-255;
            of this part only, or of the whole set; a read-only ``np.memmap`` where they do not fit
            in memory.
        truth: int (n,), index of each image's label.
        rows: int (n,), where each image is in ``pixels``; None where they are all of this part.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at these places of the part, in memory."""
        rows = indices if self.rows is None else self.rows[indices]
        return np.asarray(self.pixels[rows])

    @property
    def nbytes(self) -> int:
        """How many bytes the part's images have."""
        return len(self) * math.prod(self.pixels.shape[1:])


@dataclass(frozen=True)
class Targets:
    """What Keras is told of each image.

    Attributes:
        values: float32 (n, outputs).
        weights: float32 (n,), how much each image's loss counts; None where all count alike.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None


def batches(
    part: LabelledPixels, batch_size: int, order: NDArray[np.int64], targets: Targets
) -> Any:
    """A ``keras.utils.PyDataset`` that reads a batch when it is asked for."""
    dataset: Any = import_keras().utils.PyDataset

    class Batches(dataset):  # type: ignore[misc]
        """Images, targets and, where they differ, weights, in the given order."""

        def __len__(self) -> int:
            return math.ceil(len(order) / batch_size)

        def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
            chosen = order[index * batch_size : (index + 1) * batch_size]
            batch = (part.take(chosen), targets.values[chosen])
            return batch if targets.weights is None else (*batch, targets.weights[chosen])

    return Batches()


def answering_batch(shape: tuple[int, ...], most: int) -> int:
    """Images a batch, where nothing depends on how many: fewer of large ones and of volumes."""
    return min(most, max(1, _BATCH_VALUES // math.prod(shape)))


def answers(model: KerasModel, part: LabelledPixels) -> NDArray[np.float32]:
    """What a model answers on a part's images, float32 (n, outputs), last activation included."""
    size = answering_batch(part.pixels.shape[1:], 256)
    # A sixth faster than ``predict`` here, which hands batches over from another thread.
    found = [model.predict_on_batch(x) for x in pieces(part, np.arange(len(part)), size)]
    return np.concatenate(found).astype(np.float32)


def pieces(
    part: LabelledPixels, places: NDArray[np.int64], size: int
) -> Iterator[NDArray[np.uint8]]:
    """The images at these places of a part, so many at a time."""
    for start in range(0, len(places), size):
        yield part.take(places[start : start + size])


def images_on_device(part: LabelledPixels) -> Any:
    """A layer that holds all images on the device: int32 (n,) places to float32 pixels."""
    keras = import_keras()
    base: Any = keras.layers.Layer

    class ImagesOnDevice(base):  # type: ignore[misc]
        """Gives the images at the places that it is asked for."""

        def __init__(self) -> None:
            super().__init__(dtype="float32")
            pixels = part.take(np.arange(len(part)))
            self.images = keras.Variable(pixels, trainable=False, dtype="uint8", name="images")

        def call(self, places: Any) -> Any:
            return keras.ops.cast(keras.ops.take(self.images, places, axis=0), "float32")

    return ImagesOnDevice()


def keeps_images_on_device(part: LabelledPixels) -> bool:
    """Whether there is a GPU or TPU, and the images are few enough to lie there."""
    if part.nbytes > MAX_RESIDENT_BYTES:
        return False
    return any(_devices(kind) for kind in ("gpu", "tpu"))


def training_model(
    model: KerasModel, augmentation: Any, images: Any, lesson: Any = None
) -> KerasModel:
    """The model with what stands around it in training only.

    Args:
        model: Takes pixels.
        augmentation: A layer that changes images, or None.
        images: What ``images_on_device`` gave; None takes images instead of places.
        lesson: A layer that compares the outputs with a teacher's for the same pixels, or None.
    """
    keras = import_keras()
    if images is None:
        given = keras.Input(model.input_shape[1:], dtype="float32", name="image")
        pixels = given
    else:
        given = keras.Input((), dtype="int32", name="place")
        pixels = images(given)
    if augmentation is not None:
        pixels = augmentation(pixels)
    outputs = model(pixels)
    if lesson is not None:
        outputs = lesson([pixels, outputs])
    return keras.Model(given, outputs, name="training")


def _devices(kind: str) -> list[str]:
    try:
        found: list[str] = import_keras().distribution.list_devices(kind)
    except (RuntimeError, ValueError):  # JAX raises where it was built without that kind
        return []
    return found
