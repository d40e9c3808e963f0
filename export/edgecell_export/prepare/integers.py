"""Getting a chain ready for 8-bit weights: round them first, then make up for what that shifts.

Rounded weights move the mean of a layer's outputs, the same way for every image. The difference is
put back into the float bias ("empirical bias correction", Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", here layer by layer over calibration
images). Weights that lie on the 8-bit grid already are not moved again by a converter.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edgecell_export.prepare.absorb_shift import AbsorbShift
from edgecell_export.prepare.chain import Array, Chain, Conv2D, Dense, Node

IMAGES = 256
"""Enough for means; ranges take all calibration images."""

_BATCH = 32


def for_integers(chain: Chain, images: NDArray[np.uint8]) -> Chain:
    """Absorbs shifts, rounds kernels and corrects biases.

    Args:
        chain: Prepared; its answers change by what 8-bit weights cost.
        images: uint8 (n, height, width, channels), 0-255, for calibration.
    """
    return correct_biases(AbsorbShift(images)(chain), images)


def round_weights(kernel: Array) -> Array:
    """Rounds a kernel to signed 8-bit steps, by output channel, symmetrically.

    Both converters quantise weights so: the largest of a channel becomes 127 steps.
    """
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    step = np.where(largest > 0, largest, 1.0) / 127
    rounded: Array = np.rint(kernel / step) * step
    return rounded


def correct_biases(chain: Chain, images: NDArray[np.uint8]) -> Chain:
    """Rounds all kernels and corrects the biases behind them.

    Args:
        chain: What to round.
        images: uint8 (n, height, width, channels), 0-255; the first 256 are used.

    Returns:
        A chain of the same nodes with rounded kernels and corrected biases.
    """
    starts = range(0, min(len(images), IMAGES), _BATCH)
    exact = [
        (images[start : start + _BATCH] / 255 * chain.white).astype(np.float32) for start in starts
    ]
    rounded = exact
    corrected: list[Node] = []
    for node in chain.nodes:
        exact = [_apply(node, batch) for batch in exact]
        replaced = node
        if isinstance(node, Conv2D | Dense):
            replaced = dataclasses.replace(node, kernel=round_weights(node.kernel))
            outputs = [_apply(replaced, batch) for batch in rounded]
            bias = node.bias + _mean(exact) - _mean(outputs)
            replaced = dataclasses.replace(replaced, bias=bias)
        rounded = [_apply(replaced, batch) for batch in rounded]
        corrected.append(replaced)
    return chain.with_nodes(*corrected)


def _apply(node: Node, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return node.apply(batch.astype(np.float64)).astype(np.float32)


def _mean(batches: list[NDArray[np.float32]]) -> Array:
    """Mean by channel over all images and positions."""
    total = sum(batch.sum(axis=tuple(range(batch.ndim - 1)), dtype=np.float64) for batch in batches)
    count = sum(batch.size // batch.shape[-1] for batch in batches)
    mean: Array = np.asarray(total) / count
    return mean
