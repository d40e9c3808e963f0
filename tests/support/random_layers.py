"""Layers that a random model may be made of, one block at a time."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecell_export.tensorflow import import_keras


@dataclass(frozen=True)
class LayerChoice:
    """Draws layers from a generator of random numbers."""

    rng: np.random.Generator

    def first(self, channels: int) -> list[Any]:
        """What brings pixels into range, if anything; images may be augmented before."""
        layers = import_keras().layers
        scales = list(self.rng.uniform(0.5, 2, channels) / 255)
        offsets = list(self.rng.normal(0, 0.5, channels))
        means, variances = np.full(channels, 120.0), np.full(channels, 60.0**2)
        found = self._one_of(
            [layers.Rescaling(1 / 255)],
            [layers.Rescaling(1 / 127.5, offset=-1)],
            [layers.Rescaling(scales, offset=offsets)],
            [layers.Rescaling(1 / 255), layers.Rescaling(2.0, offset=offsets)],
            [layers.Normalization(mean=means, variance=variances)],
            [layers.BatchNormalization()],
            [layers.Rescaling(1 / 255), layers.BatchNormalization()],
            [layers.Rescaling(-1 / 255, offset=1), layers.MaxPooling2D(2)],
            [layers.Rescaling(1 / 255, offset=-0.5), layers.AveragePooling2D(2)],
            [layers.Rescaling(1 / 255, offset=-0.5), layers.ZeroPadding2D(1)],
        )
        if self.rng.random() < 0.3:
            flips = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)]
            return [import_keras().Sequential(flips), *found]
        return list(found)

    def block(self, shape: tuple[int, ...]) -> list[Any]:
        """A layer with weights and what may stand around it; halves larger maps at times."""
        channels = shape[-1]
        around = [*self._poolings(), *self.some_norm(), *self._around(shape)]
        self.rng.shuffle(around)
        if min(shape[:2]) < 8:  # nothing that would make it smaller
            return [*self.keeping(channels), *self.some_norm()]
        return [*self._padding(), self._layer(), *self._activation(), *around]

    def keeping(self, channels: int) -> list[Any]:
        """A layer that keeps the shape, with its activation."""
        layers = import_keras().layers
        layer = self._one_of(
            layers.Conv2D(channels, 3, padding="same"),
            layers.Conv2D(channels, 1, use_bias=False),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.SeparableConv2D(channels, 3, padding="same"),
            layers.Conv2D(channels, 3, padding="same", dilation_rate=2),
            layers.Dense(channels),
        )
        return [layer, *self._activation()]

    def some_norm(self) -> list[Any]:
        """Mostly one BatchNormalization, none or two at times, or another kind."""
        layers = import_keras().layers
        if self.rng.random() < 0.1:
            return [
                self._one_of(
                    layers.LayerNormalization(),
                    layers.BatchNormalization(axis=1),
                    layers.GroupNormalization(1),
                )
            ]
        return [
            layers.BatchNormalization(
                scale=bool(self.rng.random() < 0.8), center=bool(self.rng.random() < 0.8)
            )
            for _ in range(self.rng.choice([0, 1, 1, 1, 2]))
        ]

    def ending(self) -> list[Any]:
        """From a map to features: flattened or the mean, and perhaps a dense layer."""
        layers = import_keras().layers
        found = self._one_of(
            [layers.Flatten()],
            [layers.GlobalAveragePooling2D()],
            [layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()],
            [layers.GlobalMaxPooling2D()],
        )
        if self.rng.random() < 0.5:
            found += [
                *self.some_flat_norm(),
                layers.Dense(6),
                self._one_of(layers.ReLU(), layers.Activation("gelu")),
            ]
        return [*found, *self.some_flat_norm(), layers.Dropout(0.2)]

    def some_flat_norm(self) -> list[Any]:
        """A BatchNormalization of features, in one of two."""
        return [import_keras().layers.BatchNormalization()] if self.rng.random() < 0.5 else []

    def last(self, outputs: int, activation: str) -> list[Any]:
        """The layer named ``last`` and its activation, in it or behind it."""
        layers = import_keras().layers
        if self.rng.random() < 0.5:
            return [layers.Dense(outputs, activation=activation, name="last")]
        behind = layers.Softmax() if activation == "softmax" else layers.Activation(activation)
        return [layers.Dense(outputs, name="last"), behind]

    def _layer(self) -> Any:
        layers = import_keras().layers
        outputs, side = int(self.rng.integers(2, 7)), int(self.rng.integers(1, 4))
        padding, strides = self._one_of("same", "valid"), int(self.rng.choice([1, 1, 2]))
        common = {"padding": padding, "strides": strides, "use_bias": self._one_of(True, False)}
        return self._one_of(
            *[layers.Conv2D(outputs, side, **common) for _ in range(4)],
            *[layers.DepthwiseConv2D(side, **common, depth_multiplier=m) for m in (1, 2)],
            layers.SeparableConv2D(outputs, side, **common),
            layers.SeparableConv2D(outputs, side, padding=padding, depth_multiplier=2),
            layers.Conv2D(outputs, 2, padding=padding, dilation_rate=2, activation="relu"),
            layers.Conv2DTranspose(outputs, side, padding=padding),
            layers.Conv2D(outputs, side, padding=padding, activation="relu6"),
            layers.Dense(outputs, activation="relu"),
        )

    def _activation(self) -> list[Any]:
        layers = import_keras().layers
        if self.rng.random() < 0.5:
            return [layers.ReLU()]
        return self._one_of(
            [],
            [layers.Activation("relu")],
            [layers.ReLU(max_value=6)],
            [layers.ReLU(negative_slope=0.1)],
            [layers.LeakyReLU(0.2)],
            [layers.PReLU(shared_axes=[1, 2])],
            [layers.Activation("swish")],
            [layers.Activation("sigmoid")],
            [layers.ELU()],
            [layers.Softmax(axis=[1, 2])],
        )

    def _padding(self) -> list[Any]:
        layers = import_keras().layers
        if self.rng.random() < 0.8:
            return []
        return [self._one_of(layers.ZeroPadding2D(1), layers.ZeroPadding2D(((0, 1), (2, 0))))]

    def _poolings(self) -> list[Any]:
        layers = import_keras().layers
        if self.rng.random() < 0.4:
            return []
        padding = self._one_of("same", "valid")
        return [
            self._one_of(
                layers.MaxPooling2D(2, padding=padding),
                layers.MaxPooling2D((3, 2), strides=1, padding=padding),
                layers.AveragePooling2D(2, padding=padding),
                layers.AveragePooling2D((2, 3), strides=1, padding=padding),
            )
        ]

    def _around(self, shape: tuple[int, ...]) -> list[Any]:
        layers = import_keras().layers
        if self.rng.random() < 0.6:
            return []
        return [
            self._one_of(
                layers.Dropout(0.1),
                layers.SpatialDropout2D(0.1),
                layers.GaussianNoise(0.1),
                layers.Cropping2D(1 if min(shape[:2]) >= 12 else 0),
                layers.UpSampling2D(2),
            )
        ]

    def _one_of(self, *items: Any) -> Any:
        return items[self.rng.integers(len(items))]
