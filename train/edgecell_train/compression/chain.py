"""A Keras model as a chain of layers, and the same net with fewer channels.

Convolutions and dense layers mix the channels that they are given and make new ones; all layers
between two of them keep channels apart. So each feature behind such a producer comes from one of
its channels, and a channel can be left out: of the producer, of what lies between, and of what the
next one that mixes reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

KerasLayer = Any
"""``keras.layers.Layer``."""

_MIXING: Final = ("Conv2D", "Dense")
_BY_CHANNEL: Final = ("BatchNormalization", "DepthwiseConv2D")
_WITHOUT_WEIGHTS: Final = (
    *("Activation", "ELU", "LeakyReLU", "ReLU", "Softmax", "Rescaling", "ZeroPadding2D"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Flatten"),
)
_BEFORE_THE_FIRST: Final = ("Normalization",)
"""They see the image's own channels, which stay."""

KEPT_APART: Final = (*_MIXING, *_BY_CHANNEL, *_WITHOUT_WEIGHTS)


@dataclass(frozen=True)
class Link:
    """One layer of a chain.

    Attributes:
        layer: The Keras layer.
        producer: Name of the last layer before it that mixes channels; empty behind the image.
        origin: int (features,), the channel of ``producer`` that each feature of its input's last
            axis comes from.
        mixes: Whether it makes new channels.
    """

    layer: KerasLayer
    producer: str
    origin: NDArray[np.int64]
    mixes: bool

    @property
    def name(self) -> str:
        """Of the layer."""
        return str(self.layer.name)


@dataclass(frozen=True)
class Chain:
    """A model without branches.

    Attributes:
        shape: Of one image, (height, width, channels).
        links: From the image on.
    """

    shape: tuple[int, ...]
    links: tuple[Link, ...]

    @property
    def mixing(self) -> tuple[Link, ...]:
        """The layers that mix channels."""
        return tuple(link for link in self.links if link.mixes)

    @property
    def prunable(self) -> dict[str, int]:
        """Channels of each layer that can lose some, by its name: all but the answer's."""
        return {link.name: channels_of(link.layer) for link in self.mixing[:-1]}


def read_chain(model: KerasModel) -> Chain:
    """Reads a model, from its answer back to the image.

    Args:
        model: A built Keras model that takes images.

    Raises:
        UsageError: It branches, or has a layer that cannot be narrowed.
    """
    layers = _layers(model)
    shape = tuple(model.inputs[0].shape[1:])
    links, producer, origin = [], "", np.arange(shape[-1])
    for layer in layers:
        mixes = _kind(layer) in _MIXING
        _require_known(layer, first=not producer)
        links.append(Link(layer, producer, origin, mixes))
        if mixes:
            producer, origin = layer.name, np.arange(channels_of(layer))
        else:
            origin = _behind(layer, origin)
    chain = Chain(shape, tuple(links))
    if not chain.prunable:
        raise UsageError(
            "The net has one layer with channels, which makes its answers; expected another one "
            "before it, whose channels can be pruned."
        )
    return chain


def narrowed(chain: Chain, kept: Mapping[str, NDArray[np.int64]]) -> KerasModel:
    """Builds a net with some of the channels, and their weights.

    Where the channels that are left out were 0 for every image, it gives the same answers.

    Args:
        chain: Of the net.
        kept: By the name of a prunable layer, its channels that stay, ascending; layers that are
            not named keep theirs.
    """
    return assembled(chain.shape, [_narrow(link, kept) for link in chain.links])


def assembled(
    shape: tuple[int, ...], layers: Sequence[tuple[KerasLayer, list[NDArray[Any]]]]
) -> KerasModel:
    """Builds a net of new layers.

    Args:
        shape: Of one image.
        layers: Not built yet, each with its weights.
    """
    keras = import_keras()
    model = keras.Sequential([keras.Input(shape, name="image"), *(layer for layer, _ in layers)])
    for layer, weights in layers:
        layer.set_weights(weights)
    return model


def copy_of(model: KerasModel) -> KerasModel:
    """The same net with weights of its own."""
    copy = import_keras().models.clone_model(model)
    copy.set_weights(values_of(model.weights))
    return copy


def copied(layer: KerasLayer, channels: int | None = None) -> KerasLayer:
    """A layer like this one, not built yet.

    Args:
        layer: It.
        channels: Of one that mixes, how many it is to make; None leaves them as they are.
    """
    config = layer.get_config()
    if channels is not None:
        config["units" if _kind(layer) == "Dense" else "filters"] = channels
    return type(layer).from_config(config)


def channels_of(layer: KerasLayer) -> int:
    """How many channels a layer that mixes makes."""
    return int(layer.kernel.shape[-1])


def activation_of(layer: KerasLayer) -> str:
    """The name of a layer's activation; empty where it is no function of Keras's."""
    return str(getattr(layer.activation, "__name__", ""))


def _narrow(
    link: Link, kept: Mapping[str, NDArray[np.int64]]
) -> tuple[KerasLayer, list[NDArray[Any]]]:
    layer, weights = link.layer, values_of(link.layer.weights)
    into = _places(link.origin, kept.get(link.producer))
    if link.mixes:
        out = _places(np.arange(channels_of(layer)), kept.get(link.name))
        kernel, *bias = weights
        kernel = np.take(np.take(kernel, into, axis=-2), out, axis=-1)
        return copied(layer, len(out)), [kernel, *(one[out] for one in bias)]
    if _kind(layer) == "DepthwiseConv2D":
        kernel, *bias = weights
        after = _places(_behind(layer, link.origin), kept.get(link.producer))
        return copied(layer), [np.take(kernel, into, axis=2), *(one[after] for one in bias)]
    if _kind(layer) == "BatchNormalization":
        return copied(layer), [one[into] for one in weights]
    return copied(layer), weights


def _places(origin: NDArray[np.int64], kept: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Where the features are whose channels stay."""
    return np.arange(len(origin)) if kept is None else np.flatnonzero(np.isin(origin, kept))


def _behind(layer: KerasLayer, origin: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which channel each feature comes from behind a layer that keeps channels apart."""
    if _kind(layer) == "Flatten":
        places = int(np.prod(layer.input.shape[1:-1]))
        return np.tile(origin, places)
    if _kind(layer) == "DepthwiseConv2D":
        return np.repeat(origin, layer.depth_multiplier)
    return origin


def _layers(model: KerasModel) -> list[KerasLayer]:
    """All layers, from the image on."""
    keras = import_keras()
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(shape) != 3 or None in shape:
        raise UsageError(
            "Nets that take one image of a fixed size and give one answer can be compressed; this "
            f"one takes {len(model.inputs)} inputs, the first of shape {shape}."
        )
    found: list[KerasLayer] = []
    tensor = model.outputs[0]
    while tensor is not model.inputs[0]:
        operation, index, _ = tensor._keras_history
        given = operation._inbound_nodes[index].input_tensors
        plain = isinstance(operation, keras.layers.Layer) and not isinstance(operation, keras.Model)
        if len(given) != 1 or not plain or operation in found:
            raise UsageError(
                f"The net is no chain of layers: {operation.name} joins branches, stands for "
                "several layers or is used twice; expected one layer behind the other, as in the "
                "preset malaria-cnn."
            )
        found.append(operation)
        tensor = given[0]
    return found[::-1]


def _require_known(layer: KerasLayer, *, first: bool) -> None:
    kind = _kind(layer)
    known = kind in KEPT_APART or (first and kind in _BEFORE_THE_FIRST)
    odd = getattr(layer, "groups", 1) != 1 and "its channels are in groups"
    if kind == "BatchNormalization" and layer.axis not in (-1, len(layer.input.shape) - 1):
        odd = "it does not work on the last axis"
    if getattr(layer, "data_format", None) == "channels_first":
        odd = "its channels come first"
    if kind == "Rescaling" and not first and max(np.size(layer.scale), np.size(layer.offset)) > 1:
        odd = "it rescales each channel in its own way"
    if not known or odd:
        reason = odd or f"it is a {kind}"
        raise UsageError(
            f"The layer {layer.name} cannot be narrowed: {reason}; expected layers of the kinds "
            f"{', '.join(KEPT_APART)}."
        )


def _kind(layer: KerasLayer) -> str:
    return type(layer).__name__
