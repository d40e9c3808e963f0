"""A convolution with a pooling behind it as one convolution with a stride, and a maximum.

A convolution of few channels takes its time for every place of its map, however few filters there
are. Behind it, a maximum pooling of 2 x 2 keeps one of four places. So neighbouring columns are
merged, which changes no number in memory: the columns become channels, and one convolution with a
vertical stride of 2 computes the four places of each pooled one as channels, over which the maximum
is taken. The kernel has the same weights, each several times, and zeros; the answers are the same.

It multiplies more, and stores more weights: good for engines that take many channels at once
(XNNPACK), and for nobody else.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_train.compression.chain import (
    KerasLayer,
    Link,
    activation_of,
    assembled,
    channels_of,
    copied,
    read_chain,
)
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

_MOST_MERGED: Final = 16
"""Channels of the merged columns: as many as one step of the engine takes."""

_COLUMNS: Final = 4
"""Merged at most."""

_MOST_FILTERS: Final = 16
"""With more of them the multiplications outweigh what is saved."""

_PHASES: Final = 4
"""Places of which a pooling keeps one."""

_PHASES_SUFFIX: Final = "_phases"

_ANYWHERE: Final = ("Dropout", "LeakyReLU", "ReLU", "ELU")
_ELEMENTWISE: Final = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh"),
    *("sigmoid", "hard_sigmoid", "hard_silu", "softplus", "softsign", "exponential"),
)
"""Activations that look at one value at a time, and not, as softmax does, at all channels."""

_WEIGHTED = tuple[KerasLayer, list[NDArray[Any]]]


def merge_poolings(model: KerasModel) -> KerasModel:
    """Builds the net with the poolings merged that this makes faster.

    Args:
        model: A chain.

    Returns:
        A net with the same answers; further training need not keep the copies of a weight alike.
    """
    chain = read_chain(model)
    layers: list[_WEIGHTED] = []
    links = list(chain.links)
    place = 0
    while place < len(links):
        start = place
        # What scales channels stands before the convolution, and is merged with it.
        while start < len(links) and _by_channel(links[start]):
            start += 1
        end = _pooling_of(links, start)
        if end is None:
            layers.append(_kept(links[place]))
            place += 1
            continue
        layers += _merged(links[place:start], links[start:end], links[end])
        place = end + 1
    return assembled(chain.shape, layers)


def widths_of(model: KerasModel) -> dict[str, int]:
    """Channels by the layer that makes them, whether poolings are merged or not; not the answer's.

    Args:
        model: A chain, or what ``merge_poolings`` made of one.
    """
    found = {}
    mixing = [layer for layer in model.layers if type(layer).__name__ in ("Conv2D", "Dense")]
    names = {layer.name: layer for layer in model.layers}
    for layer in mixing[:-1]:
        phases = names.get(f"{layer.name}{_PHASES_SUFFIX}")
        found[layer.name] = channels_of(layer) if phases is None else int(phases.output.shape[-1])
    return found


def _pooling_of(links: Sequence[Link], start: int) -> int | None:
    """Where the pooling of a convolution is that is worth merging; None where there is none."""
    if start >= len(links) or not _is_plain_convolution(links[start].layer):
        return None
    layer = links[start].layer
    rows, columns, channels = layer.input.shape[1:]
    if layer.filters > _MOST_FILTERS or rows % 2 or _merged_columns(columns, channels) < 2:
        return None
    for end in range(start + 1, len(links)):
        if type(links[end].layer).__name__ == "MaxPooling2D":
            return end if _halves(links[end].layer) else None
        if not _by_channel(links[end]):
            return None
    return None


def _merged(before: Sequence[Link], links: Sequence[Link], pooling: Link) -> list[_WEIGHTED]:
    """The layers from what stands before a convolution to the pooling behind it."""
    layers = import_keras().layers
    convolution, *behind = links
    layer, name = convolution.layer, convolution.name
    rows, columns, channels = layer.input.shape[1:]
    merged, filters = _merged_columns(columns, channels), layer.filters
    kernel, *bias = values_of(layer.weights)
    copies = merged // 2 * _PHASES
    wide = layers.Conv2D(
        filters * copies,
        (4, 3),
        strides=(2, 1),
        padding="same",
        use_bias=layer.use_bias,
        activation=layer.activation,
        name=name,
    )
    return [
        _reshape(f"{name}_columns", rows, columns // merged, merged * channels),
        *(_tiled(link, merged) for link in before),
        (wide, [_wide_kernel(kernel, merged), *(np.tile(one, copies) for one in bias)]),
        *(_tiled(link, copies) for link in behind),
        _reshape(f"{name}{_PHASES_SUFFIX}", rows * columns // _PHASES, _PHASES, filters),
        (layers.MaxPooling2D((1, _PHASES), name=pooling.name), []),
        _reshape(f"{name}_pooled", rows // 2, columns // 2, filters),
    ]


def _wide_kernel(kernel: NDArray[Any], merged: int) -> NDArray[Any]:
    """Float (4, 3, merged * channels, merged / 2 * phases * filters)."""
    channels, filters = kernel.shape[2:]
    found = np.zeros((4, 3, merged, channels, merged // 2, 2, 2, filters), kernel.dtype)
    for pooled in range(merged // 2):
        for down, across, dy, dx in np.ndindex(2, 2, 3, 3):
            group, column = divmod(2 * pooled + across + dx - 1, merged)
            found[down + dy, group + 1, column, :, pooled, down, across] = kernel[dy, dx]
    return found.reshape(4, 3, merged * channels, merged // 2 * _PHASES * filters)


def _merged_columns(columns: int, channels: int) -> int:
    """How many columns are merged: 1 where that would be too many channels."""
    merged = 1
    while (
        2 * merged <= _COLUMNS
        and columns % (2 * merged) == 0
        and 2 * merged * channels <= _MOST_MERGED
    ):
        merged *= 2
    return merged


def _is_plain_convolution(layer: KerasLayer) -> bool:
    if type(layer).__name__ != "Conv2D":
        return False
    found = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    return found == ((3, 3), (1, 1), (1, 1), "same") and activation_of(layer) in _ELEMENTWISE


def _halves(pooling: KerasLayer) -> bool:
    return (pooling.pool_size, pooling.strides) == ((2, 2), (2, 2))


def _by_channel(link: Link) -> bool:
    """Whether a layer does the same wherever a channel stands."""
    kind = type(link.layer).__name__
    scalar = kind == "Rescaling" and np.ndim(link.layer.scale) == np.ndim(link.layer.offset) == 0
    elementwise = kind == "Activation" and activation_of(link.layer) in _ELEMENTWISE
    return kind in (*_ANYWHERE, "BatchNormalization") or elementwise or scalar


def _tiled(link: Link, copies: int) -> _WEIGHTED:
    weights = [np.tile(one, copies) for one in values_of(link.layer.weights)]
    return copied(link.layer), weights


def _kept(link: Link) -> _WEIGHTED:
    return copied(link.layer), values_of(link.layer.weights)


def _reshape(name: str, *shape: int) -> _WEIGHTED:
    return import_keras().layers.Reshape(shape, name=name), []
