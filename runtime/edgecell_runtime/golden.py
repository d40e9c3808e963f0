"""Golden vectors: inputs made by a formula, so that only the answers need to be stored."""

import numpy as np
from numpy.typing import NDArray

FORMULA = "ramps-1"
COUNT = 4


def golden_inputs(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The inputs of the formula ``ramps-1``: slanted and curved ramps in integer arithmetic.

    Args:
        shape: (height, width, channels) of the graph's input.

    Returns:
        uint8 (4, height, width, channels), 0-255; the same on every machine.
    """
    y, x, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    images = [
        (y * (3 + 2 * i) + x * (5 + i) + c * (40 + 13 * i) + (x * y) // (4 + i)) % 256
        for i in range(COUNT)
    ]
    return np.stack(images).astype(np.uint8)
