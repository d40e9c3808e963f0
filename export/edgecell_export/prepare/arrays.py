"""What nodes compute with: windows over maps, and weights on an integer grid."""

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.floating]
Padding = Literal["same", "valid"]

_FEW = 32
"""Steps, below which clipping weights can be better than rounding them coarsely."""


def round_weights(kernel: Array, axes: tuple[int, ...], largest: int = 127) -> Array:
    """Rounds a kernel to signed integer steps, by output channel, symmetrically.

    Args:
        kernel: What to round.
        axes: All axes but those of the output channel.
        largest: The step that the largest weight of a channel becomes: 127 in 8 bits. Converters
            quantise weights so, and do not move weights again that lie on this grid. With few steps
            the largest weights are clipped where that makes the squared error smaller.
    """
    size = np.abs(kernel).max(axis=axes, keepdims=True)
    step = np.where(size > 0, size, 1.0) / largest
    rounded = _on_grid(kernel, step, largest)
    if largest < _FEW:
        error = ((rounded - kernel) ** 2).sum(axis=axes, keepdims=True)
        for share in np.linspace(0.98, 0.4, 30):
            other = _on_grid(kernel, step * share, largest)
            less = ((other - kernel) ** 2).sum(axis=axes, keepdims=True)
            rounded = np.where(less < error, other, rounded)
            error = np.minimum(less, error)
    return rounded


def _on_grid(kernel: Array, step: Array, largest: int) -> Array:
    rounded: Array = np.clip(np.rint(kernel / step), -largest, largest) * step
    return rounded


def windows_of(
    x: Array, size: tuple[int, ...], strides: tuple[int, ...], padding: Padding, *, fill: float
) -> Array:
    """Sliding windows, (n, rows, columns, channels, *size), padded as TensorFlow does.

    Over as many axes behind the first as there are strides: in volumes, slices come before rows.
    """
    if padding == "same":
        widths = [(0, 0)]
        for length, extent, stride in zip(x.shape[1:-1], size, strides, strict=True):
            total = max((-(-length // stride) - 1) * stride + extent - length, 0)
            widths.append((total // 2, total - total // 2))
        x = np.pad(x, [*widths, (0, 0)], constant_values=fill)
    windows = sliding_window_view(x, size, axis=tuple(range(1, x.ndim - 1)))
    return windows[:, *(slice(None, None, stride) for stride in strides)]
