"""A net that computes as its 8-bit integers do, in floats that can be trained.

Kernels are rounded by output channel, symmetrically; what layers hand on is rounded between the
ends of a range (fake quantisation, Jacob et al. 2018, "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference"). Gradients pass the rounding as if it were not
there, and stop where a value is clipped (straight-through estimator, Bengio et al. 2013).
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.keras_layers import FRACTIONS, PROBABILITIES
from edgecell_export.ranges import Range, collect_ranges
from edgecell_export.tensorflow import import_keras
from edgecell_train.feeding import answering_batch
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

KerasLayer = Any
"""``keras.layers.Layer``."""

Tensor = Any
"""Of Keras's backend."""

_LARGEST: Final = 127
"""Steps of the largest weight of a channel."""

_BATCH: Final = 64

_HANDS_ON: Final = (
    "Dropout",
    "Flatten",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "InputLayer",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Reshape",
    "ZeroPadding2D",
    "ZeroPadding3D",
)
"""What these layers give lies on the steps of what they are given."""

_KEEPS_STEPS: Final = ("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
"""What these layers give is rounded to the steps of what they are given."""


class FakeQuantized:
    """A net, and the same net as integers; both have the same weights.

    Attributes:
        plain: The net in floats, as ``build_trainable`` makes it.
        model: The net that computes as integers; its weights are those of ``plain``, and the ends
            of the ranges.
    """

    def __init__(self, plain: KerasModel) -> None:
        """Makes the net of integers; its ranges are to be set before it is used.

        Args:
            plain: Made by ``build_trainable``.
        """
        self.plain = plain
        self._wrappers: dict[str, Any] = {}
        self.model = import_keras().models.clone_model(plain, clone_function=self._wrapped)
        watched = {n: _ranged(w.layer) for n, w in self._wrappers.items() if n != FRACTIONS}
        self._watching = import_keras().Model(plain.inputs, watched)
        self._set({FRACTIONS: (0.0, 1.0)})

    def set_ranges(self, pixels: NDArray[np.uint8]) -> None:
        """Sets the ranges by the rule of exports: from the smallest to the largest value.

        Args:
            pixels: uint8 (n, *shape), training images.
        """

        def batches() -> Iterator[dict[str, NDArray[np.float32]]]:
            size = answering_batch(pixels.shape[1:], _BATCH)
            for start in range(0, len(pixels), size):
                yield self._watching.predict_on_batch(pixels[start : start + size])

        with self._rounded():
            found = collect_ranges(batches, "min-max")
        # A tensor that holds nothing but zeros has no steps; exports take the same.
        self._set({name: ends if ends[0] < ends[1] else (0.0, 1.0) for name, ends in found.items()})

    def round_kernels(self) -> None:
        """Rounds the kernels of both nets for good: no converter moves them any more."""
        for layer in self._with_kernels():
            layer.kernel.assign(_on_grid(layer))

    @contextlib.contextmanager
    def _rounded(self) -> Iterator[None]:
        kernels = [layer.kernel for layer in self._with_kernels()]
        before = values_of(kernels)
        try:
            self.round_kernels()
            yield
        finally:
            for kernel, value in zip(kernels, before, strict=True):
                kernel.assign(value)

    def _with_kernels(self) -> list[KerasLayer]:
        return [layer for layer in self.plain.layers if _has_kernel(layer)]

    def _set(self, ranges: dict[str, Range]) -> None:
        for name, (low, high) in ranges.items():
            self._wrappers[name].low.assign(low)
            self._wrappers[name].high.assign(high)

    def _wrapped(self, layer: KerasLayer) -> KerasLayer:
        if layer.name == PROBABILITIES or type(layer).__name__ in _HANDS_ON:
            return type(layer).from_config(layer.get_config())  # it has no weights to share
        self._wrappers[layer.name] = _wrapper(layer)
        return self._wrappers[layer.name]


def _ranged(layer: KerasLayer) -> Tensor:
    """What a layer's range is read from."""
    return layer.input if type(layer).__name__ in _KEEPS_STEPS else layer.output


def _wrapper(layer: KerasLayer) -> KerasLayer:
    """A layer that computes as another one does, in integers."""
    keras = import_keras()
    base: Any = keras.layers.Layer
    fake_quantize = keras.quantizers.fake_quant_with_min_max_vars

    class Rounding(base):  # type: ignore[misc]
        """Rounds the kernel, if there is one, and what the layer gives."""

        def __init__(self) -> None:
            super().__init__(name=layer.name, dtype="float32")
            self.layer = layer
            self.low = self.add_weight(name="low", initializer="zeros", trainable=False)
            self.high = self.add_weight(name="high", initializer="ones", trainable=False)

        def call(self, inputs: Any) -> Tensor:
            with _with_rounded_kernel(layer):
                outputs = self.layer(inputs)
            return fake_quantize(outputs, self.low, self.high, num_bits=8)

    return Rounding()


@contextlib.contextmanager
def _with_rounded_kernel(layer: KerasLayer) -> Iterator[None]:
    if not _has_kernel(layer):
        yield
        return
    keras = import_keras()
    kernel = keras.ops.convert_to_tensor(layer.kernel)
    # Straight through: the gradient of the rounded kernel is taken for that of the kernel.
    rounded = kernel + keras.ops.stop_gradient(_on_grid(layer) - kernel)
    # Within a scope Keras reads no variable from the scope outside of it.
    values = [(v, rounded if v is layer.kernel else v.value) for v in layer.variables]
    with keras.StatelessScope(state_mapping=values):
        yield


def _has_kernel(layer: KerasLayer) -> bool:
    layers = import_keras().layers
    kinds = (layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.Dense)
    return isinstance(layer, kinds)


def _on_grid(layer: KerasLayer) -> Tensor:
    """The kernel as ``round_weights`` of exports rounds it."""
    keras = import_keras()
    ops = keras.ops
    kernel = ops.convert_to_tensor(layer.kernel)
    channels = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1
    axes = tuple(range(len(kernel.shape) - channels))
    size = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    step = ops.where(size > 0, size, 1.0) / _LARGEST
    return ops.round(kernel / step) * step
