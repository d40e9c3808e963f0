"""Nets without branches, small and with random weights, that can be compressed."""

from typing import Any

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import TrainConfig
from edgecell_train.presets import Preset

SHAPE = (16, 16, 3)


def build_chain(shape: tuple[int, ...] = SHAPE, labels: int = 2) -> Any:
    """In the shape of ``malaria-cnn``: convolution, pooling, BatchNormalization, dense."""
    layers = import_keras().layers
    return import_keras().Sequential(
        [
            import_keras().Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(2, name="pool"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.1, name="dropout"),
            layers.Conv2D(6, 3, activation="relu", name="second"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="dense"),
            layers.Dense(labels, activation="sigmoid", name="answer"),
        ]
    )


def build_depthwise(shape: tuple[int, ...] = SHAPE, labels: int = 2) -> Any:
    """Depthwise convolutions, one of which makes two channels of each, and a global pool."""
    layers = import_keras().layers
    return import_keras().Sequential(
        [
            import_keras().Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(5, 3, strides=2, use_bias=False, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise"),
            layers.BatchNormalization(name="norm2"),
            layers.ReLU(),
            layers.Conv2D(7, 1, name="second"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(labels, activation="softmax", name="answer"),
        ]
    )


def randomised(model: Any, seed: int = 0) -> Any:
    """With random weights, BatchNormalization's included."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        moved = [rng.normal(0, 0.4, weight.shape) for weight in layer.weights]
        if type(layer).__name__ == "BatchNormalization":
            moved[-1] = np.abs(moved[-1]) + 0.5
        layer.set_weights(moved)
    return model


def pixels(count: int = 6, shape: tuple[int, ...] = SHAPE) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.float32)


def answers(model: Any) -> Any:
    return np.asarray(model(pixels(shape=model.input_shape[1:]), training=False))


CHAIN = Preset(
    "chain",
    "a net",
    "nowhere",
    PreprocessSpec(16, 16),
    "normalised_sigmoid",
    TrainConfig(preset="chain", epochs=2, batch_size=16, seed=3),
    build_chain,
)
