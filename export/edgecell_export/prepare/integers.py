"""Getting a graph ready for integer weights: round them first, then make up for what that shifts.

Rounded weights move the mean of a layer's outputs, the same way for every image. The difference is
put back into the float bias ("empirical bias correction", Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", here layer by layer over calibration
images). Weights that lie on the integers' grid already are not moved again by a converter.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgecell_export.prepare.absorb_shift import AbsorbShift
from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.graph import IMAGE, Chain, Graph, Part
from edgecell_export.prepare.nodes import Conv2D, Dense, DepthwiseConv2D, Node
from edgecell_export.prepare.shift_to_maximum import ShiftToMaximum

IMAGES = 256
"""Enough for means; ranges take all calibration images."""

_BATCH = 64

Batches = list[NDArray[np.float32]]


def for_integers(
    graph: Graph,
    images: NDArray[np.uint8],
    *,
    largest: int = 127,
    integer_activations: bool = True,
    float_layers: Iterable[str] = (),
) -> Graph:
    """Rounds kernels and corrects biases; in between, shifts take the form that suits.

    Args:
        graph: Prepared; its answers change by what integer weights cost.
        images: uint8 (n, height, width, channels), 0-255, for calibration; the first 256 are used.
        largest: Steps of the largest weight of a channel: 127 in 8 bits, 63 in 7, 7 in 4.
        integer_activations: Whether shifts are to become constant channels, which suits integers,
            or shifted ReLUs.
        float_layers: Names of layers that keep their weights.

    Returns:
        A graph of the same parts.
    """
    kept = frozenset(float_layers)
    starts = range(0, min(len(images), IMAGES), _BATCH)
    pixels = [
        (images[start : start + _BATCH] / 255 * graph.white).astype(np.float32) for start in starts
    ]
    exact: dict[int, Batches] = {IMAGE: pixels}
    rounded: dict[int, Batches] = {IMAGE: pixels}
    chains = []
    for index, part in enumerate(graph.parts):
        taken, moved = _joined(part, exact), _joined(part, rounded)
        form = AbsorbShift(taken) if integer_activations else ShiftToMaximum()
        chain, exact[index], rounded[index] = _correct(
            form(part.chain), taken, moved, largest=largest, kept=kept
        )
        chains.append(chain)
        for source in range(index):  # what nothing behind takes any more
            if all(source not in later.sources for later in graph.parts[index + 1 :]):
                exact.pop(source, None)
                rounded.pop(source, None)
    return graph.with_chains(chains)


def _correct(
    chain: Chain, exact: Batches, rounded: Batches, *, largest: int, kept: frozenset[str]
) -> tuple[Chain, Batches, Batches]:
    """Rounds a chain's kernels and corrects the biases behind them.

    Args:
        chain: What to round.
        exact: What it is given.
        rounded: What it is given by parts that were rounded already.
        largest: See ``for_integers``.
        kept: Names of layers that keep their weights.

    Returns:
        The chain, and what it answers before and after.
    """
    nodes: list[Node] = []
    for node in chain.nodes:
        exact = _apply(node, exact)
        replaced = node
        if isinstance(node, Conv2D | DepthwiseConv2D | Dense) and node.name not in kept:
            replaced = node.rounded(largest)
            rounded = _apply(replaced, rounded)
            moved = _mean(exact) - _mean(rounded)
            replaced = dataclasses.replace(replaced, bias=node.bias + moved)
            rounded = [batch + moved.astype(np.float32) for batch in rounded]
        else:
            rounded = _apply(node, rounded)
        nodes.append(replaced)
    return chain.with_nodes(*nodes), exact, rounded


def _joined(part: Part, tensors: dict[int, Batches]) -> Batches:
    taken = [tensors[source] for source in part.sources]
    if part.join is None:
        return taken[0]
    join = part.join
    return [
        join.apply_to([batch.astype(np.float64) for batch in batches]).astype(np.float32)
        for batches in zip(*taken, strict=True)
    ]


def _apply(node: Node, batches: Batches) -> Batches:
    """Computes a node in float32, which is enough for means and halves the time."""
    if isinstance(node, Conv2D | DepthwiseConv2D | Dense):
        kernel, bias = node.kernel.astype(np.float32), node.bias.astype(np.float32)
        node = dataclasses.replace(node, kernel=kernel, bias=bias)
    return [node.apply(batch).astype(np.float32) for batch in batches]


def _mean(batches: Batches) -> Array:
    """Mean by channel over all images and positions."""
    total = sum(batch.sum(axis=tuple(range(batch.ndim - 1)), dtype=np.float64) for batch in batches)
    count = sum(batch.size // batch.shape[-1] for batch in batches)
    mean: Array = np.asarray(total) / count
    return mean
