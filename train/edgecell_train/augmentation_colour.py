"""How the colours of an augmented image change: stain, light, hue, blur and noise.

Colours are changed by one matrix product an image, which is faster than sums over channels. An
NVIDIA GPU rounds products to TF32; emulated, that moves values by 0.05 steps in the mean and by 1.3
at most.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_train.config import Augmentation

Tensor = Any
"""A tensor of Keras's backend."""

Uniform = Callable[[float], Tensor]
"""Draws one float32 (n,) between minus and plus the number that it is given."""

_HED: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Absorption of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""

_LUMA: Final = np.array([0.299, 0.587, 0.114])
_YIQ: Final = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])

_SMALLEST_BLUR: Final = 0.01
"""In pixels; changes nothing, and can be divided by."""


def changes_colours(config: Augmentation) -> bool:
    """Whether there is anything to do here."""
    light = (config.brightness, config.contrast, config.hue, config.stain)
    return any((*light, config.blur, config.noise))


def change_colours(
    pixels: Tensor, sides: tuple[int, ...], config: Augmentation, draws: tuple[Uniform, Any]
) -> Tensor:
    """Changes stain, light and hue, blurs and adds noise, each image by its own draw.

    Pixels that are 0 in all channels stay so.

    Args:
        pixels: float32 (n, pixels, channels), 0-255.
        sides: Height and width, or depth, height and width.
        config: How much.
        draws: Where uniform draws come from, and the ``keras.random.SeedGenerator`` behind them.

    Returns:
        float32, of the same shape, 0-255.
    """
    keras = import_keras()
    uniform, generator = draws
    channels = pixels.shape[-1]
    # Summing by a product with ones fills all channels at once, which is faster than a broadcast.
    sums = keras.ops.matmul(pixels, np.ones((1, channels, channels), np.float32))
    foreground = keras.ops.cast(sums > 0, "float32")
    if config.stain and channels == 3:
        pixels = _stain(pixels, config.stain, uniform)
    if config.brightness or config.contrast or config.hue:
        pixels = _light(pixels, foreground, config, uniform)
    if config.blur:
        sigma = keras.ops.abs(uniform(config.blur))
        pixels = _blur(pixels, foreground, sides, sigma)
    if config.noise:
        sigma = keras.ops.reshape(keras.ops.abs(uniform(config.noise)), (-1, 1, 1))
        shape = keras.ops.shape(pixels)
        pixels = pixels + sigma * keras.random.normal(shape, dtype="float32", seed=generator)
    return keras.ops.clip(pixels * foreground, 0, 255)


def _stain(pixels: Tensor, largest: float, uniform: Uniform) -> Tensor:
    """Changes the density of each stain in the image on its own (Tellez et al. 2018).

    Red, green and blue become densities of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001);
    each is scaled by 1 - ``largest`` to 1 + ``largest`` and shifted by -``largest`` to
    ``largest`` (in natural logarithms of light); then back. Giemsa, which colours malaria smears,
    is not these stains: the axes are a convention along which stained cells vary.
    """
    ops = import_keras().ops
    to_stains = np.linalg.inv(_HED)
    scales = ops.stack([1 + uniform(largest) for _ in range(3)], axis=1)
    shifts = ops.stack([uniform(largest) for _ in range(3)], axis=1)
    # Density = -log((pixels + 1) / 256), and everything in between is linear in it.
    scaled = to_stains.astype(np.float32)[None] * scales[:, None, :]
    matrix = ops.matmul(scaled, _HED.astype(np.float32))
    offset = ops.matmul(shifts[:, None, :], _HED.astype(np.float32))
    return ops.exp(ops.matmul(ops.log((pixels + 1) / 256), matrix) - offset) * 256 - 1


def _light(pixels: Tensor, foreground: Tensor, config: Augmentation, uniform: Uniform) -> Tensor:
    """Turns the hue, spreads values around the image's mean luma, and makes all brighter or darker.

    The hue turns in YIQ, which keeps the luma. The mean is that of the foreground.
    """
    ops = import_keras().ops
    channels = pixels.shape[-1]
    brightness = 1 + ops.reshape(uniform(config.brightness), (-1, 1, 1))
    contrast = 1 + ops.reshape(uniform(config.contrast), (-1, 1, 1))
    matrix = brightness * contrast * _turn_of_hue(channels, config.hue, uniform)
    changed = ops.matmul(pixels, matrix)
    if not config.contrast:
        return changed
    weights = _LUMA if channels == 3 else np.full(channels, 1 / channels)
    sums = ops.sum(pixels * foreground, axis=1)
    luma = ops.sum(sums * weights.astype(np.float32), axis=1)
    count = ops.maximum(ops.sum(foreground[..., 0], axis=1), 1.0)
    mean = ops.reshape(luma / count, (-1, 1, 1))
    return changed + mean * (1 - contrast) * brightness


def _turn_of_hue(channels: int, largest: float, uniform: Uniform) -> Tensor:
    """Matrices (n or 1, channels, channels) that take a row of colours."""
    if channels != 3 or not largest:
        return np.eye(channels, dtype=np.float32)[None]
    ops = import_keras().ops
    angle = ops.reshape(uniform(np.deg2rad(largest)), (-1, 1, 1))
    from_yiq = np.linalg.inv(_YIQ)
    still, cosine, sine = (
        (from_yiq @ np.array(part, np.float64) @ _YIQ).T.astype(np.float32)[None]
        for part in (
            [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
        )
    )
    return still + ops.cos(angle) * cosine + ops.sin(angle) * sine


def _blur(pixels: Tensor, foreground: Tensor, sides: tuple[int, ...], sigma: Tensor) -> Tensor:
    """Blurs each image by a Gaussian, over its foreground only: a cell's rim does not darken.

    Along each axis it is one matrix product with the Gaussian's values, which needs no largest
    width, and on two cores is faster than convolutions.

    Args:
        pixels: float32 (n, pixels, channels).
        foreground: float32, of the same shape; 0 or 1.
        sides: Height and width, or depth, height and width.
        sigma: float32 (n,), standard deviations in pixels.
    """
    ops = import_keras().ops
    sigma = ops.reshape(ops.maximum(sigma, _SMALLEST_BLUR), (-1, 1, 1))
    _, count, channels = pixels.shape
    both = ops.concatenate([pixels * foreground, foreground], axis=-1)
    for side in sides:
        steps = np.arange(side, dtype=np.float32)
        distances = (steps[:, None] - steps[None, :])[None]
        weights = ops.exp(-0.5 * (distances / sigma) ** 2)
        rest = count // side
        both = ops.matmul(weights, ops.reshape(both, (-1, side, rest * 2 * channels)))
        # This axis goes last; when all have been there the order is the old one again.
        both = ops.transpose(ops.reshape(both, (-1, side, rest, 2 * channels)), (0, 2, 1, 3))
    both = ops.reshape(both, (-1, count, 2 * channels))
    return both[..., :channels] / ops.maximum(both[..., channels:], 1e-6)
