"""What a net of given widths costs, before it is built: bytes of its int8 file, and MACs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edgecell_train.compression.chain import Chain, Link, channels_of

CostKind = Literal["bytes", "macs"]

BYTES_A_CHANNEL: Final = 20
"""Of an int8 TFLite file, beside the weights: the bias, its scale, the weights' scale and their
zero point, which has 8 bytes."""

Widths = Mapping[str, int]
"""Channels by the name of the layer that makes them."""


@dataclass(frozen=True)
class Layer:
    """What the cost of one layer with weights follows from.

    Attributes:
        name: Of the layer.
        producer: Of its input's channels; empty behind the image.
        spread: Features of its input a channel of the producer, such as the places before Flatten.
        fixed: Channels of its input where there is no producer.
        area: Weights a pair of input and output channel.
        places: Where it is computed, in one image.
        multiplier: Of a depthwise convolution, channels out of one; 0 of layers that mix.
        answers: Of a layer whose channels stay, how many there are.
    """

    name: str
    producer: str
    spread: int
    fixed: int
    area: int
    places: int
    multiplier: int
    answers: int

    def cost(self, kind: CostKind, widths: Widths) -> int:
        """What it costs at these widths."""
        given = self.spread * widths.get(self.producer, self.fixed)
        made = given * self.multiplier or widths.get(self.name, self.answers)
        weights = self.area * made * (1 if self.multiplier else given)
        return weights * self.places if kind == "macs" else weights + BYTES_A_CHANNEL * made


@dataclass(frozen=True)
class Costs:
    """What a net costs, as a function of its widths.

    ``bytes`` leave out what does not depend on widths: the container, names and the manifest.

    Attributes:
        layers: Those with weights, BatchNormalization left out, which is folded into them.
    """

    layers: tuple[Layer, ...]

    def of(self, kind: CostKind, widths: Widths) -> int:
        """What a net of these widths costs."""
        return sum(layer.cost(kind, widths) for layer in self.layers)


def costs_of(chain: Chain) -> Costs:
    """What nets cost that are narrowed from this one."""
    prunable = chain.prunable
    return Costs(
        tuple(
            _layer(link, prunable)
            for link in chain.links
            if link.mixes or hasattr(link.layer, "depth_multiplier")
        )
    )


def _layer(link: Link, prunable: Widths) -> Layer:
    layer = link.layer
    known = link.producer in prunable
    kernel = layer.kernel.shape
    return Layer(
        name=link.name,
        producer=link.producer,
        spread=len(link.origin) // prunable[link.producer] if known else 1,
        fixed=len(link.origin),
        area=int(np.prod(kernel[:-2])),
        places=int(np.prod(layer.output.shape[1:-1])),
        multiplier=0 if link.mixes else int(layer.depth_multiplier),
        answers=channels_of(layer),
    )
