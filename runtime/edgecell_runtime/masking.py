"""The slide around a cell, found by what stands at the edge of the crop, and painted over.

Models of cells that stand on black see something new in a cell on a bright slide. This makes one of
the other, with integers alone, so that a microcontroller finds the same pixels
(``runtime/examples/mask_slide.c``).
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

NEAR: Final = 16
"""A pixel this near to the background colour in each channel is background already."""

LEAST_CONTRAST: Final = 16
"""Cells stand out from the slide by so many of 255 steps, or there is none to be found."""


def mask_slide(pixels: NDArray[np.uint8], background: tuple[int, ...]) -> NDArray[np.uint8]:
    """Paints what is not of the cell in the middle.

    1. Where a quarter of the outermost pixels or more are background already, nothing is changed.
    2. The slide's colour is the median, channel by channel, of the brighter half of the outermost
       pixels: slides are brighter than cells, and other cells may reach into the crop.
    3. A pixel's contrast is its largest difference from that colour over the channels; the cell's
       contrast is the third quartile over the crop, of which a cell fills more than a quarter.
    4. Outside is what is connected with the edge of the crop through pixels of less than half of
       the cell's contrast. What is pale inside of the cell is not.
    5. The cell is what is not outside and connected with the middle half of the crop; everything
       else is painted. Cells that touch it stay.
    6. Where that would be less than a quarter of the outermost pixels, or the cell's contrast is
       below ``LEAST_CONTRAST``, nothing is changed: this is no crop of a cell. A second time
       changes nothing either.

    Args:
        pixels: uint8 (height, width, channels), 0-255.
        background: The colour to paint with, a value a channel.

    Returns:
        uint8, of the same shape; ``pixels`` itself where nothing is changed.
    """
    height, width, channels = pixels.shape
    edge, middle, places = _parts(height, width)
    outermost = pixels.reshape(-1, channels)[places].astype(np.int16)
    there = (np.abs(outermost - np.array(background, np.int16)) <= NEAR).all(axis=1)
    if 4 * np.count_nonzero(there) >= len(outermost):
        return pixels
    contrast = np.abs(pixels - _slide_color(outermost)).max(axis=2)
    rank = 3 * contrast.size // 4
    typical = int(np.partition(contrast, rank, axis=None)[rank])
    if typical < LEAST_CONTRAST:
        return pixels
    outside = _reached(2 * contrast < typical, edge)
    cell = _reached(~outside, middle)
    if 4 * np.count_nonzero(~cell[edge]) < len(outermost):
        return pixels
    return np.where(cell[..., None], pixels, np.array(background, np.uint8))


@lru_cache(maxsize=4)
def _parts(
    height: int, width: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.intp]]:
    """The outermost pixels, the middle half of rows and columns, and where the first ones are."""
    edge = np.ones((height, width), dtype=bool)
    edge[1:-1, 1:-1] = False
    middle = np.zeros_like(edge)
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return edge, middle, np.flatnonzero(edge)


def _slide_color(outermost: NDArray[np.int16]) -> NDArray[np.int16]:
    """Of pixels (n, channels), the median of the brighter half; of two in the middle the higher."""
    brightness = outermost.sum(axis=1)
    brighter = outermost[brightness >= np.sort(brightness)[len(brightness) // 2]]
    color: NDArray[np.int16] = np.sort(brighter, axis=0)[len(brighter) // 2]
    return color


def _reached(allowed: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that are reached from some, through allowed ones above, below and beside.

    Whole runs of allowed pixels are reached at once, along rows and columns by turns.
    """
    by_row, by_column = _runs(allowed), _runs(allowed.T)
    reached = allowed & start
    count, before = int(np.count_nonzero(reached)), -1
    while count != before:
        reached = _whole_runs(by_row, reached) & allowed
        reached = _whole_runs(by_column, reached.T).T & allowed
        count, before = int(np.count_nonzero(reached)), count
    return reached


def _runs(allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Numbers the runs of equal pixels in each row."""
    begins = np.ones(allowed.shape, dtype=bool)
    begins[:, 1:] = allowed[:, 1:] != allowed[:, :-1]
    return begins.cumsum().reshape(allowed.shape) - 1


def _whole_runs(runs: NDArray[np.intp], reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
    hit = np.zeros(runs[-1, -1] + 1, dtype=bool)
    hit[runs[reached]] = True
    return hit[runs]
