"""Plots of a benchmark: latencies, threads, batches, and what accuracy costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any, Final

from edgecell_runtime.bench.results import BatchRate, Estimate, Latency
from edgecell_runtime.manifest import Figure
from edgecell_train.drawing import CHANCE, RUNS, Axes, panels, png, shared_legend, titled

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_ROW_INCHES: Final = 0.62

_MOST_TICKS: Final = 7
"""Of a panel that has another beside it."""

_TICKS: Final[tuple[tuple[float, ...], ...]] = (
    tuple(number / 10 for number in range(10, 100)),
    tuple(number / 10 for number in range(10, 100, 2)),
    tuple(number / 10 for number in range(10, 100, 5)),
    (1, 1.5, 2, 3, 4, 5, 7),
    (1, 2, 3, 5, 7),
    (1, 2, 5),
    (1, 3),
    (1,),
)
"""Of a decade, from the most to the fewest."""


@dataclass(frozen=True)
class NamedLatency:
    """Latencies of one target.

    Attributes:
        name: As the table has it.
        latency: With its histogram.
    """

    name: str
    latency: Latency


@dataclass(frozen=True)
class ThreadLatency:
    """A median at a number of threads.

    Attributes:
        threads: That the engine was given.
        median_ms: With its interval.
    """

    threads: int
    median_ms: Estimate


@dataclass(frozen=True)
class Place:
    """A target on the frontier.

    Attributes:
        name: As the table has it.
        size_bytes: Of its file.
        median_ms: With its interval.
        accuracy: With its interval; None where it was not measured.
    """

    name: str
    size_bytes: int
    median_ms: Estimate
    accuracy: Figure | None


def latencies(rows: Sequence[NamedLatency]) -> bytes:
    """The distribution of each target's latencies on one logarithmic axis, as PNG.

    Args:
        rows: From top to bottom; at least one.
    """
    figure, (axes,) = panels(1, height=1.3 + _ROW_INCHES * len(rows))
    for place, (row, color) in enumerate(zip(rows, cycle(RUNS), strict=False)):
        _distribution(axes, -place, row.latency, color)
    axes.set_xscale("log")
    plain_axis(axes.xaxis)
    axes.set_yticks([-place for place in range(len(rows))], [row.name for row in rows])
    axes.set_ylim(-len(rows) + 0.75, 0.95)
    axes.grid(visible=False, axis="y")
    titled(axes, "Latency of single queries", "milliseconds, logarithmic", "")
    _percentile_key(figure, axes)
    return png(figure)


def threads(rows: Mapping[str, Sequence[ThreadLatency]]) -> bytes:
    """Median latency against the number of threads, as PNG.

    Args:
        rows: By the artifact and engine.
    """
    figure, (axes,) = panels(1, height=3.6 + 0.2 * len(rows))
    for (name, found), look in zip(rows.items(), _looks(), strict=False):
        ordered = sorted(found, key=lambda one: one.threads)
        counts = [one.threads for one in ordered]
        middles = [one.median_ms.value for one in ordered]
        axes.errorbar(
            counts, middles, yerr=_errors([one.median_ms for one in ordered]), label=name, **look
        )
    axes.set_xticks(sorted({one.threads for found in rows.values() for one in found}))
    axes.set_yscale("log")
    plain_axis(axes.yaxis)
    titled(axes, "Median latency against threads", "threads", "milliseconds, logarithmic")
    shared_legend(figure, axes, columns=2)
    return png(figure)


def batches(rows: Mapping[str, Sequence[BatchRate]]) -> bytes:
    """Throughput against the batch, as PNG.

    Args:
        rows: By the target's name.
    """
    figure, (axes,) = panels(1, height=3.6 + 0.2 * len(rows))
    for (name, found), look in zip(rows.items(), _looks(), strict=False):
        rates = [one.images_per_second for one in found]
        axes.plot([one.batch for one in found], rates, label=name, **look)
        best = max(found, key=lambda one: one.images_per_second)
        axes.plot(
            best.batch,
            best.images_per_second,
            marker="o",
            markersize=11,
            fillstyle="none",
            color=look["color"],
        )
    axes.set_xscale("log", base=2)
    sizes = sorted({one.batch for found in rows.values() for one in found})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    titled(axes, "Throughput against the batch (best: ringed)", "images a batch", "images a second")
    shared_legend(figure, axes, columns=2)
    return png(figure)


def frontier(places: Sequence[Place]) -> bytes:
    """Latency, and size, against accuracy, as PNG; against each other where none is known.

    Args:
        places: At least one.
    """
    known = [place for place in places if place.accuracy is not None]
    shown = known or places
    figure, axes = panels(2 if known else 1, height=3.8 + 0.2 * ((len(shown) + 1) // 2))
    if known:
        _against_accuracy(axes[0], known, "latency")
        _against_accuracy(axes[1], known, "size")
    else:
        for place, look in zip(places, _looks(), strict=False):
            _point(axes[0], place, (place.median_ms.value, place.size_bytes / 1e6), look)
        for axis, name in ((axes[0].xaxis, "x"), (axes[0].yaxis, "y")):
            axes[0].set(**{f"{name}scale": "log"})
            plain_axis(axis)
        titled(axes[0], "Size and latency", "median, milliseconds", "megabytes")
    shared_legend(figure, axes[0], columns=2)
    return png(figure)


def _against_accuracy(axes: Axes, places: Sequence[Place], cost: str) -> None:
    """Points, and the line of those that no other beats in both."""
    in_time = cost == "latency"
    costs = [place.median_ms.value if in_time else place.size_bytes / 1e6 for place in places]
    for place, value, look in zip(places, costs, _looks(), strict=False):
        _point(axes, place, (value, _value(place)), look)
    best = _unbeaten(list(zip(costs, map(_value, places), strict=True)))
    if len(best) > 1:
        across, up = zip(*best, strict=True)
        axes.step(across, up, where="post", color=CHANCE, linewidth=1, linestyle="--", zorder=1)
    axes.set_xscale("log")
    plain_axis(axes.xaxis)
    words = {"latency": "median, milliseconds", "size": "megabytes"}[cost]
    titled(axes, f"Accuracy against {cost}", f"{words}, logarithmic", "accuracy")


def _value(place: Place) -> float:
    assert place.accuracy is not None
    return place.accuracy.value


def _unbeaten(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) for which no other costs at most as much and gains more."""
    found: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or gain > found[-1][1]:
            found.append((cost, gain))
    return found


def _point(axes: Axes, place: Place, at: tuple[float, float], look: dict[str, Any]) -> None:
    """Hollow, so that points in one place are all seen; the accuracy with its interval."""
    if place.accuracy is not None:
        ends = [place.accuracy.low, place.accuracy.high]
        axes.plot([at[0]] * 2, ends, color=look["color"], linewidth=1, alpha=0.45)
    shape = {"linestyle": "", "markersize": 8, "fillstyle": "none", "markeredgewidth": 1.8}
    axes.plot(*at, label=place.name, **{**look, **shape})


def _distribution(axes: Axes, base: float, latency: Latency, color: str) -> None:
    """A histogram as a hill on its own line, with its percentiles."""
    counts = latency.histogram
    first, step = latency.histogram_from, latency.histogram_step
    if counts:
        edges = [10 ** (first + place * step) for place in range(len(counts) + 1)]
        most = max(counts)
        heights = [base + 0.72 * number / most for number in counts]
        axes.stairs(heights, edges, baseline=base, fill=True, color=color, alpha=0.35)
        # Stalls are rare, and a hill one in a thousand high could not be seen.
        rare = [
            (edges[i] * edges[i + 1]) ** 0.5
            for i, number in enumerate(counts)
            if 0 < number < most / 40
        ]
        axes.plot(rare, [base + 0.03] * len(rare), "|", color=color, markersize=5)
    median = latency.median_ms
    if median.low is not None and median.high is not None:
        axes.plot([median.low, median.high], [base - 0.06] * 2, color=color, linewidth=3)
    percentiles = (
        (median.value, 0.8, "o"),
        (latency.p90_ms, 0.5, "^"),
        (latency.p99_ms, 0.3, "s"),
    )
    for value, height, marker in percentiles:
        if value is not None:
            axes.plot([value] * 2, [base, base + height], color=color, linewidth=1.6)
            axes.plot(value, base, marker, color=color, markersize=5, zorder=3)


def _percentile_key(figure: Any, axes: Axes) -> None:
    from matplotlib.lines import Line2D

    marks = (("o", "median, 95 % interval below"), ("^", "p90"), ("s", "p99"), ("|", "rare times"))
    handles = [
        Line2D([], [], color=CHANCE, linestyle="", marker=marker, label=words)
        for marker, words in marks
    ]
    figure.legend(handles=handles, frameon=False, fontsize=9, loc="outside lower left", ncols=4)
    axes.tick_params(axis="y", length=0)


def _looks() -> Iterator[dict[str, Any]]:
    """A colour and a marker for each line: colours alone some people cannot tell apart."""
    for place in count():
        round_, column = divmod(place, len(RUNS))
        marker = _MARKERS[(column + round_) % len(_MARKERS)]
        yield {"color": RUNS[column], "marker": marker, "markersize": 5, "linewidth": 1.5}


def _errors(found: Sequence[Estimate]) -> list[list[float]]:
    """Down and up; nothing where there is no interval."""
    return [
        [max(one.value - (one.value if one.low is None else one.low), 0) for one in found],
        [max((one.value if one.high is None else one.high) - one.value, 0) for one in found],
    ]


def plain_axis(axis: Any) -> None:
    """Ticks such as 0.5, 1 and 2 and not powers of ten, of which there may be one or none."""
    from matplotlib.ticker import FuncFormatter, Locator, NullFormatter, NullLocator

    class PlainLocator(Locator):
        def __call__(self) -> list[float]:
            return self.tick_values(*axis.get_view_interval())

        def tick_values(self, vmin: float, vmax: float) -> list[float]:
            return plain_ticks(vmin, vmax)

    axis.set_major_locator(PlainLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plain_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two on a logarithmic axis, as many as can stand beside each other."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _TICKS:
        found = [
            tick
            for decade in decades
            for step in steps
            if low <= (tick := float(f"{step}e{decade}")) <= high
        ]
        if len(found) <= _MOST_TICKS:
            return found
    return found[:: -(-len(found) // _MOST_TICKS)]
