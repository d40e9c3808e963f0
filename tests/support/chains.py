"""Chains of random layers, and how far two of them are apart."""

import numpy as np

from edgecell_export.prepare.arrays import Padding
from edgecell_export.prepare.graph import Chain, Graph, Part
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Node,
)

RNG = np.random.default_rng(3)
SIZE = (8, 8, 3)
RELU, POOL, FLATTEN = Activation("relu"), MaxPool2D((2, 2), (2, 2), "valid"), Flatten()
PIXELS = RNG.integers(0, 256, (3, *SIZE)).astype(float)


def conv(channels: int, outputs: int, padding: Padding = "same", size: int = 3) -> Conv2D:
    kernel = RNG.normal(size=(size, size, channels, outputs)) / size
    return Conv2D(kernel, RNG.normal(size=outputs), (1, 1), padding)


def depthwise(channels: int, multiplier: int = 1, padding: Padding = "same") -> DepthwiseConv2D:
    kernel = RNG.normal(size=(3, 3, channels, multiplier)) / 3
    return DepthwiseConv2D(kernel, RNG.normal(size=channels * multiplier), (1, 1), padding)


def dense(inputs: int, outputs: int = 2) -> Dense:
    return Dense(RNG.normal(size=(inputs, outputs)), RNG.normal(size=outputs))


def batchnorm(*scales: float) -> Affine:
    return Affine(np.array(scales), RNG.normal(size=len(scales)))


def chain(*nodes: Node) -> Chain:
    return Chain(SIZE, nodes)


def graph(*nodes: Node) -> Graph:
    """A model that does not branch."""
    return Graph(SIZE, (Part(chain(*nodes)),))


def difference(before: Chain | Graph, after: Chain | Graph) -> float:
    """Relative to the largest answer; an ``after`` that takes fractions is given them."""
    expected, found = before.evaluate(PIXELS), after.evaluate(PIXELS / 255 * after.white)
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def kinds(of: Chain | Graph) -> list[str]:
    chains = [part.chain for part in of.parts] if isinstance(of, Graph) else [of]
    return [type(node).__name__ for item in chains for node in item.nodes]
