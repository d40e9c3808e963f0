"""A BatchNormalization between a pooling and a padded convolution, taken into both, exactly.

It scales and shifts what the convolution reads, but not the zeros around it, so that the shift is
no part of a bias. The scale goes into the kernel; the shift becomes one more channel, which is
constant. ``edgecell_export.prepare.absorb_shift`` does so with a finished net, unless layers stand
between that it does not know, as behind ``merge_poolings``: as 8-bit integers, a shift of its own
changes one label in sixty.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_train.compression.chain import (
    Chain,
    KerasLayer,
    Link,
    activation_of,
    assembled,
    copied,
    read_chain,
)
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

_SPREAD: Final = 3.0
"""Standard deviations above the mean that the constant stands, as the largest values do."""


def absorb_shifts(model: KerasModel) -> KerasModel:
    """Builds the net without BatchNormalization between a pooling and a padded convolution.

    Args:
        model: A chain.

    Returns:
        A net with the same answers.
    """
    chain = read_chain(model)
    while (found := _place(chain)) is not None:
        chain = read_chain(_absorbed(chain, *found))
    return assembled(
        chain.shape, [(copied(link.layer), values_of(link.layer.weights)) for link in chain.links]
    )


def _place(chain: Chain) -> tuple[int, int, int] | None:
    """Where a convolution, a BatchNormalization behind its pooling and the next one stand."""
    kinds = [type(link.layer).__name__ for link in chain.links]
    for place, kind in enumerate(kinds):
        before = _next(kinds, place, -1, ("MaxPooling2D", "ReLU", "Dropout"))
        after = _next(kinds, place, 1, ("Dropout",))
        if kind != "BatchNormalization" or before is None or after is None:
            continue
        rectified = _is_rectified([link.layer for link in chain.links[before:place]])
        pooled = "MaxPooling2D" in kinds[before:place]
        biased = chain.links[before].layer.use_bias and chain.links[after].layer.use_bias
        if rectified and pooled and biased and chain.links[after].layer.padding == "same":
            return before, place, after
    return None


def _is_rectified(layers: Sequence[KerasLayer]) -> bool:
    """Whether nothing but max(0, x) is done to what a convolution makes, so that a constant stays.

    Args:
        layers: The convolution, and those up to the BatchNormalization.
    """
    activation = activation_of(layers[0])
    relus = [layer for layer in layers if type(layer).__name__ == "ReLU"]
    plain = [(layer.max_value, layer.negative_slope, layer.threshold) for layer in relus]
    if activation not in ("linear", "relu") or any(one != (None, 0, 0) for one in plain):
        return False
    return activation == "relu" or bool(relus)


def _next(kinds: Sequence[str], place: int, step: int, passed: tuple[str, ...]) -> int | None:
    """The next convolution in a direction, when nothing but such layers stands between."""
    place += step
    while 0 <= place < len(kinds) and kinds[place] in passed:
        place += step
    return place if 0 <= place < len(kinds) and kinds[place] == "Conv2D" else None


def _absorbed(chain: Chain, before: int, place: int, after: int) -> KerasModel:
    scale, shift, level = _read(chain.links[place])
    layers = []
    for index, link in enumerate(chain.links):
        weights: list[NDArray[Any]] = list(values_of(link.layer.weights))
        if index == before:
            kernel, bias = weights
            empty = np.zeros((*kernel.shape[:-1], 1), kernel.dtype)
            weights = [np.concatenate([kernel, empty], axis=-1), np.append(bias, level)]
            layers.append((copied(link.layer, link.layer.filters + 1), weights))
        elif index == after:
            kernel, bias = weights
            taps = np.einsum("ijco,c->ijo", kernel, shift)[:, :, None] / level
            kernel = np.concatenate([kernel * scale[:, None], taps], axis=2)
            layers.append((copied(link.layer), [kernel.astype(np.float32), bias]))
        elif index != place:
            layers.append((copied(link.layer), weights))
    return assembled(chain.shape, layers)


def _read(link: Link) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Scale and shift of a BatchNormalization, and a value that few of its inputs exceed."""
    layer = link.layer
    *affine, mean, variance = values_of(layer.weights)
    gamma = affine.pop(0) if layer.scale else np.ones_like(mean)
    beta = affine.pop(0) if layer.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    level = float(np.max(mean + _SPREAD * np.sqrt(variance)))
    return scale, beta - mean * scale, level if level > 0 else 1.0
