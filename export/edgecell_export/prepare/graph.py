"""A model as a graph of chains: what the passes read and rewrite.

Where a model branches or joins, a new part begins; inside of a part one node feeds the next. Passes
rewrite chains, so that none of them has to know about branches.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import Node

IMAGE: Final = -1
"""The source of a part that takes the image."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Nodes, one feeding the next.

    Attributes:
        input_shape: Without the batch; (height, width, channels) of an image.
        nodes: In the order of computation.
        white: What a pixel of 255 is given as: 255, or 1 where the chain takes pixels / 255; None
            where its input is no image.
    """

    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    white: float | None = 255.0

    def with_nodes(self, *nodes: Node) -> "Chain":
        """The same input, other nodes."""
        return dataclasses.replace(self, nodes=nodes)

    def evaluate(self, x: Array) -> Array:
        """Computes the chain in float64, (n, *input_shape) to (n, ...)."""
        for node in self.nodes:
            x = node.apply(x)
        return x


@dataclass(frozen=True, eq=False)
class Part:
    """A chain and what feeds it.

    Attributes:
        chain: Its nodes.
        sources: Indices of the parts that feed it, ``IMAGE`` for the image.
        join: What makes one tensor of several; None for one source.
    """

    chain: Chain
    sources: tuple[int, ...] = (IMAGE,)
    join: KerasLayer | None = None

    def joined(self, tensors: Mapping[int, Array]) -> Array:
        """The chain's input, from the outputs of its sources."""
        taken = [tensors[source] for source in self.sources]
        return taken[0] if self.join is None else self.join.apply_to(taken)


@dataclass(frozen=True, eq=False)
class Graph:
    """Parts in the order of computation; the last one gives the answer.

    Attributes:
        input_shape: (height, width, channels) of the image, or (depth, height, width, channels) of
            the volume.
        parts: At least one.
    """

    input_shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def last(self) -> Chain:
        """The chain that gives the answer."""
        return self.parts[-1].chain

    @property
    def white(self) -> float:
        """What a pixel of 255 is given as."""
        return next(p.chain.white for p in self.parts if p.chain.white is not None)

    def map(self, rewrite: Callable[[Chain], Chain]) -> "Graph":
        """The graph with every chain rewritten."""
        return self.with_chains([rewrite(part.chain) for part in self.parts])

    def with_last(self, chain: Chain) -> "Graph":
        """The graph with another last chain."""
        return self.with_chains([*(part.chain for part in self.parts[:-1]), chain])

    def with_chains(self, chains: list[Chain]) -> "Graph":
        """The graph with other chains."""
        parts = zip(self.parts, chains, strict=True)
        new = tuple(dataclasses.replace(part, chain=chain) for part, chain in parts)
        return dataclasses.replace(self, parts=new)

    def evaluate(self, x: Array) -> Array:
        """Computes the graph in float64, (n, *input_shape) to (n, outputs)."""
        tensors: dict[int, Array] = {IMAGE: x}
        for index, part in enumerate(self.parts):
            tensors[index] = part.chain.evaluate(part.joined(tensors))
        return tensors[len(self.parts) - 1]


def probes(chain: Chain, count: int) -> Array:
    """Random input for a chain, in fractions of white where it is an image."""
    rng = np.random.default_rng(0)
    if chain.white is None:
        return rng.normal(size=(count, *chain.input_shape))
    return rng.integers(0, 256, (count, *chain.input_shape)) / 255
