"""Nodes: one step of a model each, with float64 weights and channels last.

``apply`` computes a node in float64 with NumPy; it is slow and plain, and is the reference that
passes are held against. A layer that has no node of its own is a ``KerasLayer``, which passes leave
alone.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecell_export.prepare.arrays import Array, Padding, round_weights, windows_of
from edgecell_export.prepare.keras_layer import KerasLayer

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
        windows = windows_of(x, self.kernel.shape[:2], self.strides, self.padding, fill=0.0)
        product: Array = np.tensordot(windows, self.kernel, axes=((4, 5, 3), (0, 1, 2)))
        return product + self.bias

    def scale_outputs(self, scale: Array, shift: Array) -> "Conv2D":
        """The layer whose outputs are ``scale * y + shift``."""
        bias = self.bias * scale + shift
        return dataclasses.replace(self, kernel=self.kernel * scale, bias=bias)

    def scale_inputs(self, scale: Array) -> "Conv2D":
        """The layer that scales its inputs by channel first."""
        return dataclasses.replace(self, kernel=self.kernel * scale[:, None])

    def shift_inputs(self, shift: Array) -> "Conv2D":
        """The layer that shifts its inputs first, padding included."""
        by_output = np.einsum("ijco,c->o", self.kernel, shift)
        return dataclasses.replace(self, bias=self.bias + by_output)

    def rounded(self, largest: int) -> "Conv2D":
        """The layer with integer weights; see ``round_weights``."""
        return dataclasses.replace(self, kernel=round_weights(self.kernel, (0, 1, 2), largest))


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D:
    """Convolutions of one channel each; kernel (rows, columns, in, multiplier), bias (out,)."""

    kernel: Array
    bias: Array
    strides: tuple[int, int]
    padding: Padding
    name: str = ""

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, in)."""
        windows = windows_of(x, self.kernel.shape[:2], self.strides, self.padding, fill=0.0)
        product: Array = np.einsum("nhwcij,ijcm->nhwcm", windows, self.kernel, optimize=True)
        flat: Array = product.reshape(*product.shape[:3], -1) + self.bias
        return flat

    def scale_outputs(self, scale: Array, shift: Array) -> "DepthwiseConv2D":
        """The layer whose outputs are ``scale * y + shift``."""
        kernel = self.kernel * scale.reshape(self.kernel.shape[2:])
        return dataclasses.replace(self, kernel=kernel, bias=self.bias * scale + shift)

    def scale_inputs(self, scale: Array) -> "DepthwiseConv2D":
        """The layer that scales its inputs by channel first."""
        return dataclasses.replace(self, kernel=self.kernel * scale[:, None])

    def shift_inputs(self, shift: Array) -> "DepthwiseConv2D":
        """The layer that shifts its inputs first, padding included."""
        by_output = (self.kernel.sum(axis=(0, 1)) * shift[:, None]).reshape(-1)
        return dataclasses.replace(self, bias=self.bias + by_output)

    def rounded(self, largest: int) -> "DepthwiseConv2D":
        """The layer with integer weights; see ``round_weights``."""
        return dataclasses.replace(self, kernel=round_weights(self.kernel, (0, 1), largest))


@dataclass(frozen=True, eq=False)
class Dense:
    """Matrix product over the last axis; kernel (in, out), bias (out,)."""

    kernel: Array
    bias: Array
    name: str = ""

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ..., in)."""
        return x @ self.kernel + self.bias

    def scale_outputs(self, scale: Array, shift: Array) -> "Dense":
        """The layer whose outputs are ``scale * y + shift``."""
        bias = self.bias * scale + shift
        return dataclasses.replace(self, kernel=self.kernel * scale, bias=bias)

    def scale_inputs(self, scale: Array) -> "Dense":
        """The layer that scales its inputs first; flattened maps repeat their channels."""
        return dataclasses.replace(self, kernel=self.kernel * self._repeated(scale)[:, None])

    def shift_inputs(self, shift: Array) -> "Dense":
        """The layer that shifts its inputs first; flattened maps repeat their channels."""
        return dataclasses.replace(self, bias=self.bias + self._repeated(shift) @ self.kernel)

    def rounded(self, largest: int) -> "Dense":
        """The layer with integer weights; see ``round_weights``."""
        return dataclasses.replace(self, kernel=round_weights(self.kernel, (0,), largest))

    def _repeated(self, by_channel: Array) -> Array:
        return np.tile(by_channel, len(self.kernel) // len(by_channel))


@dataclass(frozen=True, eq=False)
class Affine:
    """BatchNormalization at inference: ``x * scale + shift`` by channel."""

    scale: Array
    shift: Array
    name: str = ""

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
class Maximum:
    """``max(x, level)`` by channel: a ReLU that was shifted."""

    level: Array

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ..., channels)."""
        return np.maximum(x, self.level)


@dataclass(frozen=True, eq=False)
class Activation:
    """A function without weights."""

    kind: ActivationKind

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ...)."""
        return ACTIVATIONS[self.kind](x)


@dataclass(frozen=True, eq=False)
class DivideBySum:
    """``x / sum(x)`` over the last axis."""

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, ...)."""
        quotient: Array = x / x.sum(axis=-1, keepdims=True)
        return quotient


@dataclass(frozen=True, eq=False)
class MaxPool2D:
    """Maximum over windows; size and strides (rows, columns)."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, channels)."""
        windows = windows_of(x, self.size, self.strides, self.padding, fill=-np.inf)
        pooled: Array = windows.max(axis=(-2, -1))
        return pooled


@dataclass(frozen=True, eq=False)
class MaxPool3D:
    """Maximum over windows of volumes; size and strides (slices, rows, columns).

    Keras could not compute it in float64: TensorFlow has no such kernel.
    """

    size: tuple[int, int, int]
    strides: tuple[int, int, int]
    padding: Padding

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, depth, height, width, channels)."""
        windows = windows_of(x, self.size, self.strides, self.padding, fill=-np.inf)
        pooled: Array = windows.max(axis=(-3, -2, -1))
        return pooled


@dataclass(frozen=True, eq=False)
class AveragePool2D:
    """Mean over windows, what is padded not counted; size and strides (rows, columns)."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, channels)."""
        windows = windows_of(x, self.size, self.strides, self.padding, fill=np.nan)
        pooled: Array = np.nanmean(windows, axis=(-2, -1))
        return pooled


@dataclass(frozen=True, eq=False)
class GlobalAveragePool2D:
    """Mean over the whole map, to (n, channels), or (n, 1, 1, channels) where they are kept."""

    keep_dimensions: bool = False

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, channels)."""
        mean: Array = x.mean(axis=(1, 2), keepdims=self.keep_dimensions)
        return mean


@dataclass(frozen=True, eq=False)
class ZeroPad2D:
    """Zeros around the map: (top, bottom), (left, right)."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def apply(self, x: Array) -> Array:
        """Computes the node on (n, height, width, channels)."""
        return np.pad(x, [(0, 0), self.rows, self.columns, (0, 0)])


@dataclass(frozen=True, eq=False)
class Flatten:
    """(n, height, width, channels) to (n, height * width * channels); of volumes likewise."""

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


Layer = Conv2D | DepthwiseConv2D | Dense
"""What has a kernel and a bias, into which scales and shifts can go."""

Node = (
    Layer
    | Rescale
    | Affine
    | Shift
    | Maximum
    | Activation
    | DivideBySum
    | MaxPool2D
    | MaxPool3D
    | AveragePool2D
    | GlobalAveragePool2D
    | ZeroPad2D
    | Flatten
    | TrainingOnly
    | KerasLayer
)


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
