"""A model as a chain of nodes: what the passes read and rewrite.

Arrays are float64 and channels come last. ``Chain.evaluate`` computes in float64 with NumPy; it is
slow and plain, and is the reference that passes are held against.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
Padding = Literal["same", "valid"]
ActivationKind = Literal["relu", "sigmoid", "softmax"]


@dataclass(frozen=True, eq=False)
class Rescale:
    """``x * scale + offset``, the same for all channels."""

    scale: float
    offset: float

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ...)."""
        return x * self.scale + self.offset


@dataclass(frozen=True, eq=False)
class Conv2D:
    """Convolution; kernel (rows, columns, in, out), bias (out,), strides (rows, columns)."""

    kernel: Array
    bias: Array
    strides: tuple[int, int]
    padding: Padding
    name: str = ""

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, in)."""
        size = (self.kernel.shape[0], self.kernel.shape[1])
        windows = _windows(x, size, self.strides, self.padding, fill=0.0)
        product: Array = np.tensordot(windows, self.kernel, axes=((4, 5, 3), (0, 1, 2)))
        return product + self.bias


@dataclass(frozen=True, eq=False)
class Dense:
    """Matrix product; kernel (in, out), bias (out,)."""

    kernel: Array
    bias: Array
    name: str = ""

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, in)."""
        return x @ self.kernel + self.bias


@dataclass(frozen=True, eq=False)
class Affine:
    """BatchNormalization at inference: ``x * scale + shift`` by channel."""

    scale: Array
    shift: Array

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ..., channels)."""
        return x * self.scale + self.shift


@dataclass(frozen=True, eq=False)
class Shift:
    """``x + shift`` by channel: what is left of an ``Affine`` where padding keeps it in place."""

    shift: Array

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ..., channels)."""
        return x + self.shift


@dataclass(frozen=True, eq=False)
class Activation:
    """A function without weights."""

    kind: ActivationKind

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ...)."""
        return ACTIVATIONS[self.kind](x)


@dataclass(frozen=True, eq=False)
class MaxPool2D:
    """Maximum over windows; size and strides (rows, columns)."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, channels)."""
        windows = _windows(x, self.size, self.strides, self.padding, fill=-np.inf)
        pooled: Array = windows.max(axis=(-2, -1))
        return pooled


@dataclass(frozen=True, eq=False)
class Flatten:
    """(n, height, width, channels) to (n, height * width * channels)."""

    def apply(self, x: Array) -> Array:
        """Computes the node."""
        return x.reshape(len(x), -1)


@dataclass(frozen=True, eq=False)
class TrainingOnly:
    """A layer that does nothing at inference, such as Dropout."""

    name: str

    def apply(self, x: Array) -> Array:
        """Computes the node: nothing."""
        return x


Node = Rescale | Conv2D | Dense | Affine | Shift | Activation | MaxPool2D | Flatten | TrainingOnly


@dataclass(frozen=True, eq=False)
class Chain:
    """Nodes, one feeding the next.

    Attributes:
        input_shape: (height, width, channels).
        nodes: In the order of computation.
        white: What a pixel of 255 is given as: 255, or 1 where the chain takes pixels / 255.
    """

    input_shape: tuple[int, int, int]
    nodes: tuple[Node, ...]
    white: float = 255.0

    def with_nodes(self, *nodes: Node) -> "Chain":
        """The same input, other nodes."""
        return dataclasses.replace(self, nodes=nodes)

    def evaluate(self, x: Array) -> Array:
        """Computes the chain in float64, (n, height, width, channels) to (n, outputs)."""
        for node in self.nodes:
            x = node.apply(x)
        return x


def _softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    total: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return total


def _sigmoid(x: Array) -> Array:
    value: Array = np.exp(-np.logaddexp(0.0, -x))
    return value


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


ACTIVATIONS: dict[ActivationKind, Callable[[Array], Array]] = {
    "relu": _relu,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}


def _windows(
    x: Array, size: tuple[int, int], strides: tuple[int, int], padding: Padding, *, fill: float
) -> Array:
    """Sliding windows, (n, rows, columns, channels, *size), padded as TensorFlow does."""
    if padding == "same":
        widths = [(0, 0)]
        for length, extent, stride in zip(x.shape[1:3], size, strides, strict=True):
            total = max((-(-length // stride) - 1) * stride + extent - length, 0)
            widths.append((total // 2, total - total // 2))
        x = np.pad(x, [*widths, (0, 0)], constant_values=fill)
    windows = sliding_window_view(x, size, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1]]
