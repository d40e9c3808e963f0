"""Random changes of training images, inside the training step and never in the exported graph."""

import math
from typing import Any

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.augmentation_colour import change_colours, changes_colours
from edgecell_train.augmentation_geometry import flip_volumes, move, resamples
from edgecell_train.config import Augmentation

Layer = Any
"""``keras.layers.Layer``; Keras ships no types that mypy can follow."""

Tensor = Any
"""A tensor of Keras's backend."""


def layer(config: Augmentation, seed: int) -> Layer | None:
    """Makes the layer that changes each image by its own random draw.

    It takes float32 or uint8 pixels (n, height, width, channels), 0-255, RGB or grey, and gives
    float32 of the same shape, 0-255; with ``training=False`` the same values. Geometry comes first,
    as one affine map and one bilinear resampling, with 0 where something comes in from outside;
    then stain, hue, contrast and brightness, blur, noise. Pixels that are 0 in all channels before
    the colours change stay 0. On grey images hue and stain do nothing; on images that are not
    square a quarter turn is a half turn. Volumes (n, depth, height, width, channels) are flipped
    along their three axes and change their colours; nothing else can be done to their geometry.

    It computes in float32 under any policy of mixed precision, and on the device that trains.
    Its draws follow from the seed and the number of batches so far, which the state of its seed
    generator holds, a variable like any other.

    Args:
        config: What to change, and by how much.
        seed: Of the draws, 0 to 2**32 - 1.

    Returns:
        A Keras layer, or None where the config changes nothing.

    Raises:
        UsageError: When the layer first sees volumes that the config would turn, shift, zoom or
            shear.
    """
    if config == Augmentation():
        return None
    return _random_changes(import_keras(), config, seed)


def _random_changes(keras: Any, config: Augmentation, first_seed: int) -> Layer:
    class RandomChanges(keras.layers.Layer):  # type: ignore[misc]
        """Changes each image by its own random draw."""

        def __init__(self) -> None:
            super().__init__(name="augmentation", dtype="float32", trainable=False)
            self.draws = keras.random.SeedGenerator(first_seed)

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            _require_possible(config, input_shape)

        def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
            return input_shape

        def call(self, inputs: Tensor, training: bool = False) -> Tensor:
            pixels = keras.ops.cast(inputs, "float32")
            return _change(pixels, config, self.draws) if training else pixels

    return RandomChanges()


def _require_possible(config: Augmentation, shape: tuple[int | None, ...]) -> None:
    if len(shape) not in (4, 5):
        raise UsageError(
            f"Augmentation takes images (n, height, width, channels) or volumes (n, depth, height, "
            f"width, channels), and got the shape {shape}."
        )
    if len(shape) == 5 and (resamples(config) or config.quarter_turns):
        raise UsageError(
            "Volumes can be flipped and change their colours, and the augmentation asks for more. "
            "Leave out quarter_turns, rotation, shift, zoom and shear."
        )


def _change(pixels: Tensor, config: Augmentation, draws: Any) -> Tensor:
    """Changes float32 pixels (n, sides..., channels), 0-255."""
    keras = import_keras()
    images = keras.ops.shape(pixels)[0]

    def uniform(largest: float) -> Tensor:
        if not largest:
            return keras.ops.zeros((images,), "float32")
        return keras.random.uniform((images,), -largest, largest, dtype="float32", seed=draws)

    if len(pixels.shape) == 5:
        pixels = flip_volumes(pixels, uniform) if config.flips else pixels
    elif config.flips or config.quarter_turns or resamples(config):
        pixels = move(pixels, config, uniform)
    if not changes_colours(config):
        return pixels
    *sides, channels = pixels.shape[1:]
    flat = keras.ops.reshape(pixels, (-1, math.prod(sides), channels))
    flat = change_colours(flat, tuple(sides), config, (uniform, draws))
    return keras.ops.reshape(flat, (-1, *sides, channels))
