"""Preprocessed images in a file: read in batches, so that memory stays flat however many."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.files import storage_errors


@dataclass(frozen=True)
class PixelFile:
    """Images one after another, as raw bytes.

    Attributes:
        path: Of the file.
        shape: Of one image, (height, width, channels), or of one volume, with a depth before it.
    """

    path: Path
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.path.stat().st_size // self._image_bytes

    @property
    def _image_bytes(self) -> int:
        return math.prod(self.shape)

    def append(self, images: Iterable[NDArray[np.uint8]]) -> None:
        """Writes images behind those that are there.

        Args:
            images: Each uint8 (height, width, channels), 0-255.

        Raises:
            StorageError: There is no space.
        """
        with storage_errors(self.path), self.path.open("ab") as file:
            for image in images:
                file.write(image.tobytes())

    def batches(self, size: int, first: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Reads the images in their order.

        Args:
            size: Images a batch; the last one may be shorter.
            first: Only so many images from the start; None reads all.

        Yields:
            uint8 (n, height, width, channels), 0-255.
        """
        left = len(self) if first is None else min(first, len(self))
        with self.path.open("rb") as file:
            while left > 0:
                count = min(size, left)
                data = np.frombuffer(file.read(count * self._image_bytes), np.uint8)
                yield data.reshape(count, *self.shape)
                left -= count

    def first(self, count: int) -> NDArray[np.uint8]:
        """The first images as one array, uint8 (n, height, width, channels); fewer if there are."""
        return next(self.batches(count, count))
