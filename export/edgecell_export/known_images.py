"""Finding the run's images again: by name, and by the hash that they had."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_export.pixels import PixelFile
from edgecell_export.source import Answer, Evidence, KnownImage
from edgecell_runtime.errors import DataError, ExportError
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Calibration
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.stored_images import StoredImage, image_sha256

CALIBRATION_COUNT = 512
"""Fewer images clip the range of rare activations; more changed nothing on the cells."""

LIT_OTHERWISE = 128
"""So many of them are calibrated on again, darker and lighter."""

_LIGHT = 25

MINIMUM_CALIBRATION = 100


def read_known(images: LabelledImages, known: KnownImage) -> StoredImage:
    """Reads an image as its set stores it and makes sure that it is the one that the run knew.

    Raises:
        DataError: It is gone, or it was changed.
        ImageError: It cannot be read.
    """
    found = images.get(known.name)
    if found is None:
        raise DataError(
            f"{images.location} has no image {known.name}, which the run was made with; say where "
            "the images are now with --data PATH."
        )
    data = images.read(found)
    if image_sha256(data) != known.sha256:
        raise DataError(
            f"{known.name} in {images.location} was changed since the run was made; say where the "
            "original images are with --data PATH, or train again."
        )
    return data


def write_calibration(
    pixels: PixelFile,
    evidence: Evidence,
    preprocessing: PreprocessSpec,
    labels: Sequence[str],
    count: int = CALIBRATION_COUNT,
) -> Calibration:
    """Picks calibration images from the training patients, the same for the same seed.

    Some follow again, 25 grey levels darker and lighter: an image that is lit a little otherwise
    than all of the chosen ones would else be clipped in the middle of the net.

    Args:
        pixels: The images are appended to it, preprocessed.
        evidence: The run's images.
        preprocessing: Of the model.
        labels: Of the model.
        count: How many to pick.

    Returns:
        What the manifest says of them.

    Raises:
        ExportError: There are too few, or a class has none.
        DataError: An image is gone or was changed.
        ImageError: An image cannot be read.
    """
    training = sorted(evidence.training, key=lambda image: image.name)
    _require_apart(training, evidence.held_out)
    if min(count, len(training)) < MINIMUM_CALIBRATION:
        raise ExportError(
            f"There are {min(count, len(training))} calibration images (the run has "
            f"{len(training)} for training, {count} were asked for); integers need at least "
            f"{MINIMUM_CALIBRATION} to set their ranges. Train on more images, or ask for more."
        )
    order = np.random.default_rng(evidence.seed).permutation(len(training))
    chosen = [training[i] for i in order[:count]]
    missing = sorted(set(labels) - {image.label for image in chosen})
    if missing:
        raise ExportError(
            f"None of the {len(chosen)} calibration images is {missing[0]}; ranges set without a "
            "class are wrong for it. Train on more images of it."
        )
    pixels.append(preprocessing.apply(read_known(evidence.images, image)) for image in chosen)
    pixels.append(in_other_light(pixels.first(LIT_OTHERWISE)))
    digest = hashlib.sha256("".join(image.sha256 for image in chosen).encode()).hexdigest()
    return Calibration(len(chosen), evidence.seed, digest)


def _require_apart(training: Sequence[KnownImage], held_out: Sequence[Answer]) -> None:
    """Ranges that were set on test patients would flatter the comparison that follows."""
    names = {answer.image.name for answer in held_out}
    patients = {answer.image.patient for answer in held_out} - {None}
    shared = [image for image in training if image.name in names or image.patient in patients]
    if shared:
        raise ExportError(
            f"{len(shared)} training images, such as {shared[0].name}, are of test patients, or "
            "are test images themselves; calibration images must be of training patients only. "
            "Train again, so that patients are split anew."
        )


def in_other_light(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Darker and lighter copies; the black around a cell stays black."""
    again = pixels.astype(np.int16)
    copies = [
        np.where(again > 0, np.clip(again + light, 0, 255), 0).astype(np.uint8)
        for light in (-_LIGHT, _LIGHT)
    ]
    return np.concatenate(copies)
