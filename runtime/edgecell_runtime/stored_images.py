"""One image as its set holds it, and what every place that sets can lie in offers."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

StoredImage = bytes | NDArray[np.uint8]
"""The bytes of a file, or an array uint8 (height, width, channels), 0-255, RGB or grey."""


class ImageStore(Protocol):
    """Where the images of an open set lie; ``read`` may be called from several threads."""

    @property
    def location(self) -> Path:
        """The folder or the file."""

    def read(self, name: str) -> StoredImage:
        """Reads one image.

        Raises:
            ImageError: It cannot be read, is damaged or is too large.
            DataError: None of them can be read, or they are no images.
        """

    def stamp(self) -> str:
        """Sizes and times of the files, hashed: it changes when one of them is changed.

        Raises:
            DataError: A file is gone.
        """

    def close(self) -> None:
        """Lets go of what is open. May be called twice."""


def image_sha256(stored: StoredImage) -> str:
    """Hashes one image of a set: what run, export and evaluation know it again by.

    Args:
        stored: As ``LabelledImages.read`` gives it.

    Returns:
        64 hexadecimal digits: of a file its SHA-256; of an array that of a line with dtype and
        shape, such as ``uint8 (28, 28, 1)``, and of its values in C order.
    """
    if isinstance(stored, bytes):
        return hashlib.sha256(stored).hexdigest()
    shape = tuple(int(side) for side in stored.shape)
    digest = hashlib.sha256(f"{stored.dtype} {shape}\n".encode())
    digest.update(np.ascontiguousarray(stored).data)
    return digest.hexdigest()


def stamp_of(files: Iterable[tuple[str, os.stat_result]]) -> str:
    """Hashes files' names, sizes and times.

    The time of the last change of the inode is among them: it moves also where a program that
    copies sets the time of the content back.
    """
    digest = hashlib.sha256()
    for name, status in files:
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        digest.update(f"{name}\0{status.st_size} {times} {status.st_ino}\n".encode())
    return digest.hexdigest()
