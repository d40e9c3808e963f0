"""What all plots share: colours, axes, and PNG bytes, drawn with matplotlib without a display."""

import io
from typing import Any, Final

TRAINING: Final = "#7a4b9a"
VALIDATION: Final = "#1f8a8a"
CHANCE: Final = "#8a8290"
CHOSEN: Final = "#c2410c"
RUNS: Final = (
    "#7a4b9a",
    "#1f8a8a",
    "#c2410c",
    "#2f6fb0",
    "#a3791f",
    "#b0367c",
    "#4b7a3a",
    "#5b5560",
)
"""One a run, where several are drawn."""

Axes = Any
"""``matplotlib.axes.Axes``, which is imported late."""


def panels(columns: int, width: float = 9.0, height: float = 3.6) -> tuple[Any, list[Axes]]:
    """A figure with axes side by side.

    Args:
        columns: Number of axes.
        width: Of the figure, in inches.
        height: Likewise.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    found = figure.subplots(1, columns, squeeze=False)[0]
    for axes in found:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(found)


def titled(axes: Axes, title: str, horizontal: str, vertical: str) -> None:
    """Gives axes their words."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)


def shared_legend(figure: Any, axes: Axes, columns: int) -> None:
    """The legend of one of several axes that show the same curves, under all of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, fontsize=9, loc="outside lower left", ncols=columns
    )


def png(figure: Any) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()
