"""The points that a compression came by: what each file costs, and what it loses."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Final, Literal

from edgecell_train.drawing import CHANCE, CHOSEN, VALIDATION, panels, png, shared_legend, titled
from edgecell_train.runs import csv_text

PointKind = Literal["source", "step", "final"]

_PANELS: Final = (
    ("size_bytes", 1e3, "Size", "kB, logarithmic"),
    ("latency_ms", 1.0, "Latency", "milliseconds, logarithmic"),
    ("macs", 1e6, "Multiply-accumulates", "millions, logarithmic"),
)


@dataclass(frozen=True)
class Point:
    """One net as an int8 TFLite file.

    Attributes:
        kind: The ``source``; a ``step`` of the search, fine-tuned shortly; or the ``final`` net.
        step: Its number; 0 is the source.
        size_bytes: Of the file, manifest included.
        latency_ms: Median of one query in LiteRT with one thread.
        speed: How many times as fast as the source in float32, both by turns.
        macs: Multiply-accumulates of one query, as the file has them.
        parameters: Of the Keras net.
        accuracy: Of the file on the validation images, by the likeliest label.
        drop: Points of accuracy that it loses against the source in float32.
        changed_labels: Share of validation images to which the Keras net gives another label.
        widths: Channels by layer.
        problem: Why the file is of no use whatever it costs; empty where it is of use.
    """

    kind: PointKind
    step: int
    size_bytes: int
    latency_ms: float
    speed: float
    macs: int
    parameters: int
    accuracy: float
    drop: float
    changed_labels: float
    widths: Mapping[str, int]
    problem: str = ""

    def words(self) -> str:
        """For people."""
        change = f"lose {self.drop:.2f}" if self.drop >= 0 else f"gain {-self.drop:.2f}"
        return (
            f"{self.size_bytes:,} bytes, {self.latency_ms:.3g} ms and {self.macs:,} MACs {change} "
            "points"
        )


def frontier_csv(points: Sequence[Point]) -> str:
    """The points as CSV."""
    columns = tuple(field.name for field in fields(Point))
    rows = [(*astuple(point)[:-2], _widths(point), point.problem) for point in points]
    return csv_text(columns, rows)


def _widths(point: Point) -> str:
    return " ".join(f"{name}={width}" for name, width in point.widths.items())


def frontier_plot(points: Sequence[Point], limits: Mapping[str, float], least: float) -> bytes:
    """Validation accuracy against size, latency and MACs, as PNG.

    Args:
        points: In the order of the search.
        limits: By the name of a cost, what was asked for.
        least: The accuracy that was asked for.
    """
    from edgecell_train.benchmark_plots import plain_axis

    figure, all_axes = panels(len(_PANELS), width=11.0, height=4.0)
    for axes, (name, unit, title, words) in zip(all_axes, _PANELS, strict=True):
        costs = [getattr(point, name) / unit for point in points]
        steps = [i for i, point in enumerate(points) if point.kind != "final"]
        axes.plot(
            [costs[i] for i in steps],
            [points[i].accuracy for i in steps],
            "o-",
            color=VALIDATION,
            markersize=5,
            linewidth=1.5,
            label="source and steps, each fine-tuned shortly",
        )
        for cost, point in zip(costs, points, strict=True):
            if point.kind == "final":
                axes.plot(
                    cost, point.accuracy, "*", color=CHOSEN, markersize=14, label="fine-tuned"
                )
        axes.axhline(least, color=CHANCE, linewidth=1, linestyle="--", label="limits")
        if name in limits:
            axes.axvline(limits[name] / unit, color=CHANCE, linewidth=1, linestyle="--")
        axes.set_xscale("log")
        plain_axis(axes.xaxis)
        titled(axes, title, words, "validation accuracy of the int8 file")
    for axes in all_axes[1:]:
        axes.set_ylabel("")
    shared_legend(figure, all_axes[0], columns=3)
    return png(figure)
