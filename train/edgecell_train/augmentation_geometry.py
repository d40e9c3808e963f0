"""Where the pixels of an augmented image come from: one affine map an image, one resampling.

Coordinates are computed in float32 without matrix products: an NVIDIA GPU rounds those to TF32,
whose ten bits do not hold a pixel's place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_train.config import Augmentation

Tensor = Any
"""A tensor of Keras's backend."""

Uniform = Callable[[float], Tensor]
"""Draws one float32 (n,) between minus and plus the number that it is given."""


def resamples(config: Augmentation) -> bool:
    """Whether pixels have to be interpolated; flips and quarter turns only move them."""
    return any((config.rotation, config.shift, config.zoom, config.shear))


def move(pixels: Tensor, config: Augmentation, uniform: Uniform) -> Tensor:
    """Flips, turns, shears, zooms and shifts each image by its own draw.

    Images that are not square are turned by half turns in place of quarter turns. What comes in
    from outside is 0.

    Args:
        pixels: float32 (n, height, width, channels), of known height, width and channels.
        config: How much.
        uniform: Where the draws come from.

    Returns:
        float32, of the same shape.
    """
    _, height, width, _ = pixels.shape
    map_x, map_y, origin = _affine(config, uniform, (height, width))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x = (columns - (width - 1) / 2)[None] - origin[0]
    y = (rows - (height - 1) / 2)[None] - origin[1]
    source_x = map_x[0] * x + map_x[1] * y + (width - 1) / 2
    source_y = map_y[0] * x + map_y[1] * y + (height - 1) / 2
    if resamples(config):
        return _bilinear(pixels, source_x, source_y)
    return _exact(pixels, source_x, source_y)


def flip_volumes(voxels: Tensor, uniform: Uniform) -> Tensor:
    """Mirrors each volume along each of its three axes, or not.

    Args:
        voxels: float32 (n, depth, height, width, channels).
        uniform: Where the draws come from.

    Returns:
        float32, of the same shape.
    """
    ops = import_keras().ops
    for axis in (1, 2, 3):
        mirrored = ops.reshape(uniform(1.0) < 0, (-1, 1, 1, 1, 1))
        voxels = ops.where(mirrored, ops.flip(voxels, axis), voxels)
    return voxels


def _affine(
    config: Augmentation, uniform: Uniform, size: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two rows of each image's map from the result to the source, and the result's origin.

    Everything is measured from the image's centre and has the shape (n, 1, 1).
    """
    ops = import_keras().ops
    height, width = size

    def draw(largest: float) -> Tensor:
        return ops.reshape(uniform(largest), (-1, 1, 1))

    angle = draw(np.deg2rad(config.rotation))
    slant = ops.tan(draw(np.deg2rad(config.shear)))
    size_change = 1 + draw(config.zoom)
    cosine, sine = ops.cos(angle) / size_change, ops.sin(angle) / size_change
    row_x = (cosine + slant * sine, slant * cosine - sine)
    row_y = (sine, cosine)
    if config.quarter_turns:
        row_x, row_y = _turned(draw(1.0), row_x, row_y, square=height == width)
    if config.flips:
        row_x, row_y = (
            tuple(ops.where(chance < 0, -entry, entry) for entry in row)
            for chance, row in ((draw(1.0), row_x), (draw(1.0), row_y))
        )
    return row_x, row_y, (draw(config.shift * width), draw(config.shift * height))


def _turned(
    chance: Tensor, row_x: tuple[Tensor, ...], row_y: tuple[Tensor, ...], *, square: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Turns by 0, 90, 180 or 270 degrees (0 or 180 where not square); chance is in [-1, 1)."""
    ops = import_keras().ops
    half = chance < 0
    row_x = tuple(ops.where(half, -entry, entry) for entry in row_x)
    row_y = tuple(ops.where(half, -entry, entry) for entry in row_y)
    if not square:
        return row_x, row_y
    # The half that is left of the chance decides over a quarter turn more.
    quarter = ops.abs(chance) < 0.5
    return (
        tuple(ops.where(quarter, -b, a) for a, b in zip(row_x, row_y, strict=True)),
        tuple(ops.where(quarter, a, b) for a, b in zip(row_x, row_y, strict=True)),
    )


def _exact(pixels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Pixels at whole coordinates (n, height, width) inside the image."""
    ops = import_keras().ops
    width = pixels.shape[2]
    # The centre is at a half in images of even sides, where sums of floats are exact too.
    rows, columns = ops.cast(ops.round(y), "int32"), ops.cast(ops.round(x), "int32")
    return _take(pixels, rows * width + columns)


def _bilinear(pixels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Interpolates between the four pixels around each coordinate (n, height, width).

    Measured on two cores, this is as fast as ``keras.ops.image.affine_transform`` under TensorFlow;
    it gives the same under every backend and compiles under XLA, which that does not.
    """
    ops = import_keras().ops
    _, height, width, _ = pixels.shape
    # A border of 0 is what lies outside; whatever is further out lands on it.
    padded = ops.pad(pixels, ((0, 0), (1, 2), (1, 2), (0, 0)))
    x, y = ops.clip(x + 1, 0, width + 1), ops.clip(y + 1, 0, height + 1)
    left, top = ops.floor(x), ops.floor(y)
    share_x, share_y = (x - left)[..., None], (y - top)[..., None]
    stride = width + 3
    corner = ops.cast(top, "int32") * stride + ops.cast(left, "int32")
    upper = _between(_take(padded, corner), _take(padded, corner + 1), share_x)
    corner = corner + stride
    lower = _between(_take(padded, corner), _take(padded, corner + 1), share_x)
    return _between(upper, lower, share_y)


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first + (second - first) * share


def _take(pixels: Tensor, places: Tensor) -> Tensor:
    """Pixels (n, rows, columns, channels) at int32 (n, ...) places of each flattened image."""
    ops = import_keras().ops
    _, rows, columns, channels = pixels.shape
    first = ops.arange(ops.shape(pixels)[0], dtype="int32") * (rows * columns)
    flat = ops.reshape(pixels, (-1, channels))
    return ops.take(flat, places + ops.reshape(first, (-1, 1, 1)), axis=0)
