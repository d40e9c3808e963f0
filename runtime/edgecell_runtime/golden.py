"""Golden vectors: inputs made by a formula, so that only the answers need to be stored."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import ManifestError

FORMULA: Final = "cells-1"
"""What new artifacts are proved by."""

_CELLS = 8


def golden_inputs(formula: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The inputs of a formula, in integer arithmetic: the same on every machine.

    Args:
        formula: ``cells-1``: eight grainy discs on black, every other one with dark spots, which
            drive no output to its ends; ``ramps-1``: four slanted and curved ramps. In volumes the
            discs are balls, and the ramps rise from slice to slice; one of a single slice is the
            image.
        shape: Of the graph's input: (height, width, channels), or for volumes (depth, height,
            width, channels).

    Returns:
        uint8 (inputs, *shape), 0-255.

    Raises:
        ManifestError: There is no such formula.
    """
    if formula not in _FORMULAS:
        raise ManifestError(
            f"The golden answers are to inputs of the formula {formula!r}, which this edgecell "
            f"does not have; expected one of {', '.join(_FORMULAS)}. Install a newer one."
        )
    depth, height, width, channels = (1, *shape)[-4:]
    return _FORMULAS[formula](depth, height, width, channels).reshape(-1, *shape)


def _cells(depth: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    z, y, x = np.ogrid[:depth, :height, :width]
    # Squared distances from the middle, in 1/1024 of half a side, whatever the aspect ratio.
    down, right = (2 * y - height + 1) * 1024 // height, (2 * x - width + 1) * 1024 // width
    deep = (2 * z - depth + 1) * 1024 // depth
    away = down**2 + right**2 + deep**2
    images = np.zeros((_CELLS, depth, height, width, channels), dtype=np.uint8)
    for i, image in enumerate(images):
        grain = (y * (37 + 6 * i) + x * (23 + 10 * i) + x * y * 7 + z * (29 + 4 * i)) % 23
        grey = 205 - 12 * i - grain - away // 30000
        spots = np.zeros_like(grey)
        for spot in range(1 + i // 2 if i % 2 else 0):
            of_spot = (down - 420 + 210 * spot) ** 2 + (right + 350 - 190 * ((spot * i) % 4)) ** 2
            spots += of_spot + deep**2 < 30000
        for c in range(channels):
            colour = grey - 70 * spots + (20, -25 - 15 * spots, 0)[min(c, 2)]
            image[..., c] = np.where(away < 960 * 960, colour, 0).clip(0, 255)
    return images


def _ramps(depth: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    z, y, x, c = np.ogrid[:depth, :height, :width, :channels]
    images = [
        (z * (9 + i) + y * (3 + 2 * i) + x * (5 + i) + c * (40 + 13 * i) + (x * y) // (4 + i)) % 256
        for i in range(4)
    ]
    return np.stack(images).astype(np.uint8)


_FORMULAS: Final[dict[str, Callable[[int, int, int, int], NDArray[np.uint8]]]] = {
    "cells-1": _cells,
    "ramps-1": _ramps,
}
