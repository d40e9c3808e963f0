"""Ranges of tensors from calibration batches, in flat memory however many there are.

A range is where an 8-bit tensor's steps lie; values outside are clipped to its ends. Three rules:

- ``min-max``: from the smallest to the largest value. Nothing is clipped; one outlier makes every
  step coarse.
- ``percentile``: at least 99.99 % of the values lie inside, half of the rest off either end.
- ``mse``: the range with the least mean squared error of rounding and clipping together. The
  objective is that of Sakr et al. 2022, "Optimal Clipping and Magnitude-aware Differentiation for
  Improved Quantization-aware Training" (OCTAV), for the two ends of a range instead of one
  symmetric bound; it is minimised by trying all ends of a histogram's bins, not by their recursion.

The last two read the batches twice: for the smallest and largest value, then for histograms between
them. They cannot place an end more finely than one of the 2,048 bins.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.kinds import RangeRule
from edgecell_runtime.errors import ConversionError

Batches = Callable[[], Iterable[Mapping[str, NDArray[np.float32]]]]
"""Starts over at each call: float32 tensors of any shape by name, batch after batch."""

Range = tuple[float, float]

INSIDE: Final = 0.9999
"""The share of values that ``percentile`` keeps inside."""

BINS: Final = 2048
"""Of a histogram; eight to an 8-bit step of the whole range."""

_STEPS: Final = 255
"""Between the ends of an 8-bit range."""


@dataclass(frozen=True, eq=False)
class _Histogram:
    """Counts between ``edges``; exact zeros are in ``counts`` and once more in ``zeros``."""

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    zeros: int


def collect_ranges(batches: Batches, rule: RangeRule) -> dict[str, Range]:
    """Sets a range for each tensor.

    Args:
        batches: Called once or twice, and gives the same tensors each time.
        rule: How a range follows from the values.

    Returns:
        Lower and upper end by name. Zero is always inside: padding and ReLU need it exactly. Both
        ends are 0 where a tensor holds nothing else.

    Raises:
        ConversionError: There are no batches, or a tensor holds a value that is not finite.
    """
    extremes = _extremes(batches)
    if rule == "min-max":
        return extremes
    choose = {"percentile": _percentile_range, "mse": _least_error_range}[rule]
    return {
        name: choose(found) if found.edges[0] < found.edges[-1] else (0.0, 0.0)
        for name, found in _histograms(batches, extremes).items()
    }


def _extremes(batches: Batches) -> dict[str, Range]:
    """The smallest and largest value of each tensor, zero included."""
    ranges: dict[str, Range] = {}
    for batch in batches():
        for name, values in batch.items():
            if values.size == 0:
                continue
            low, high = float(values.min()), float(values.max())
            if not np.isfinite((low, high)).all():
                raise ConversionError(
                    f"Calibration gave a value in {name} that is not finite; the weights or an "
                    "image are damaged. Train the model again, or look at the images."
                )
            known = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(known[0], low), max(known[1], high)
    if not ranges:
        raise ConversionError("Calibration got no images; integers need some to set ranges.")
    return ranges


def _histograms(batches: Batches, extremes: dict[str, Range]) -> dict[str, _Histogram]:
    counts = {name: np.zeros(BINS) for name in extremes}
    zeros = dict.fromkeys(extremes, 0)
    for batch in batches():
        for name, values in batch.items():
            zeros[name] += values.size - int(np.count_nonzero(values))
            if extremes[name][0] < extremes[name][1]:
                counts[name] += np.histogram(values, BINS, extremes[name])[0]
    return {
        name: _Histogram(np.linspace(*ends, BINS + 1), counts[name], zeros[name])
        for name, ends in extremes.items()
    }


def _percentile_range(found: _Histogram) -> Range:
    """Cuts whole bins off either end, while no more than half of the rest is lost there."""
    tail = round(found.counts.sum() * (1 - INSIDE) / 2, 6)  # a whole number must stay one
    below = np.concatenate([[0], np.cumsum(found.counts)])
    above = below[-1] - below
    low = found.edges[np.flatnonzero(below <= tail)[-1]]
    high = found.edges[np.flatnonzero(above <= tail)[0]]
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_error_range(found: _Histogram) -> Range:
    """Tries each pair of edges with zero between them.

    Rounding costs a twelfth of a squared step for each value inside, but nothing for a zero, which
    is a step of every range; clipping costs the squared distance to the end.
    """
    edges, counts = found.edges, found.counts
    below = np.concatenate([[0], np.cumsum(counts)])
    clipped_low = _clipping_cost(edges, counts)
    clipped_high = _clipping_cost(-edges[::-1], counts[::-1])[::-1]
    upper = np.flatnonzero(edges >= 0)
    best = (np.inf, 0.0, 0.0)
    for low in np.flatnonzero(edges <= 0):
        inside = np.maximum(below[upper] - below[low] - found.zeros, 0)
        rounding = inside * ((edges[upper] - edges[low]) / _STEPS) ** 2 / 12
        costs = rounding + clipped_low[low] + clipped_high[upper]
        high = int(np.argmin(costs))
        best = min(best, (float(costs[high]), float(edges[low]), float(edges[upper][high])))
    return best[1], best[2]


def _clipping_cost(edges: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each edge the sum of squared distances to it of all values below."""
    centres = (edges[:-1] + edges[1:]) / 2
    moments = [np.concatenate([[0], np.cumsum(counts * centres**power)]) for power in range(3)]
    cost: NDArray[np.float64] = moments[2] - 2 * edges * moments[1] + edges**2 * moments[0]
    return np.maximum(cost, 0)
