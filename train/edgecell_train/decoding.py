"""Decoding a whole set of labelled images into memory, once."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, data_sha256
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.threads import allowed_cpus


@dataclass(frozen=True)
class Decoded:
    """The readable images of a set.

    Attributes:
        images: In the order of the rows below.
        pixels: uint8 (n, height, width, channels), 0-255, preprocessed.
        sha256: Of each original file.
        unreadable: Name and reason of every image that was left out.
    """

    images: tuple[LabelledImage, ...]
    pixels: NDArray[np.uint8]
    sha256: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def data_sha256(self) -> str:
        """Hash of the readable images: their names and their bytes."""
        names = (image.name for image in self.images)
        return data_sha256(zip(self.sha256, names, strict=True))


def decode(
    images: LabelledImages, spec: PreprocessSpec, progress: Callable[[int, int], None]
) -> Decoded:
    """Decodes all images, on as many threads as there are CPUs.

    Args:
        images: The open set.
        spec: The model's preprocessing.
        progress: Called with the number of images done, and of all.

    Raises:
        DataError: Not one image of a class can be read.
    """

    def read(image: LabelledImage) -> tuple[NDArray[np.uint8], str] | str:
        try:
            data = images.read(image)
            return spec.apply(data), hashlib.sha256(data).hexdigest()
        except ImageError as error:
            return str(error)

    kept: list[LabelledImage] = []
    rows: list[NDArray[np.uint8]] = []
    hashes: list[str] = []
    unreadable: list[tuple[str, str]] = []
    with ThreadPoolExecutor(allowed_cpus()) as pool:
        for done, (image, result) in enumerate(zip(images, pool.map(read, images), strict=True)):
            if isinstance(result, str):
                unreadable.append((image.name, result))
            else:
                kept.append(image)
                rows.append(result[0])
                hashes.append(result[1])
            progress(done + 1, len(images))
    lost = sorted(set(images.labels) - {image.label for image in kept})
    if lost:
        name, reason = next(bad for bad in unreadable if bad[0].startswith(f"{lost[0]}/"))
        raise DataError(
            f"Not one image of {lost[0]} in {images.location} can be read; the first, {name}, "
            f"fails with: {reason}"
        )
    return Decoded(tuple(kept), np.stack(rows), tuple(hashes), tuple(unreadable))
