"""Chains of random layers, and how far two of them are apart."""

import numpy as np

from edgecell_export.prepare import Chain
from edgecell_export.prepare.chain import (
    Activation,
    Affine,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Node,
    Padding,
)

RNG = np.random.default_rng(3)
SIZE = (8, 8, 3)
RELU, POOL, FLATTEN = Activation("relu"), MaxPool2D((2, 2), (2, 2), "valid"), Flatten()
PIXELS = RNG.integers(0, 256, (3, *SIZE)).astype(float)


def conv(channels: int, outputs: int, padding: Padding = "same", size: int = 3) -> Conv2D:
    kernel = RNG.normal(size=(size, size, channels, outputs)) / size
    return Conv2D(kernel, RNG.normal(size=outputs), (1, 1), padding)


def dense(inputs: int, outputs: int = 2) -> Dense:
    return Dense(RNG.normal(size=(inputs, outputs)), RNG.normal(size=outputs))


def batchnorm(*scales: float) -> Affine:
    return Affine(np.array(scales), RNG.normal(size=len(scales)))


def chain(*nodes: Node) -> Chain:
    return Chain(SIZE, nodes)


def difference(before: Chain, after: Chain) -> float:
    """Relative to the largest answer."""
    expected, found = before.evaluate(PIXELS), after.evaluate(PIXELS)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def kinds(of: Chain) -> list[str]:
    return [type(node).__name__ for node in of.nodes]
