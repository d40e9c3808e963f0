"""What the tools and edgecell found: one row a tool, for machines and for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from turns import ratio_of_medians

from edgecell.console import Table
from edgecell_runtime.manifest import Figure
from peers.layers_child import LAYERS, Layer

Verdict = Literal["yes", "no", "open"]
"""Whether two times agree; open where the interval holds both."""

AGREED: Final = 0.05

LAYER_WORDS: Final[Mapping[Layer, str]] = {
    "engine": "the engine's own clock",
    "session": "Session.run, the same pixels",
    "rotated": "Session.run, images rotated",
    "bench": "Classifier.logits, images rotated",
}


@dataclass(frozen=True)
class PeerRow:
    """One tool beside edgecell, on one artifact in one engine.

    Attributes:
        tool: Its name.
        artifact: The file's name.
        engine: By edgecell's name.
        times: What the tool times.
        layer: Edgecell's figure that is held against it.
        statistic: Which of each process's queries.
        tool_ms: Median over the rounds.
        edgecell_ms: Likewise, of the layer.
        ratio: The tool's over the layer's, with its interval over rounds and the tool's rounding.
        within: Whether that is within 5 % of 1.
        bench_ratio: The tool's over the row of ``edgecell bench``, likewise.
        bench_within: See ``within``.
        remarks: What differs between the two.
    """

    tool: str
    artifact: str
    engine: str
    times: str
    layer: Layer
    statistic: Literal["median", "mean"]
    tool_ms: float
    edgecell_ms: float
    ratio: Figure
    within: Verdict
    bench_ratio: Figure
    bench_within: Verdict
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class LayerRow:
    """What lies between the engine and a row of ``edgecell bench``.

    Attributes:
        artifact: The file's name.
        engine: By edgecell's name.
        bench_ms: Median of the row of ``edgecell bench``, over the rounds.
        layers_ms: Medians of the layers, in one process, over the rounds.
        added_us: What each layer adds to the one before, median over the rounds.
        bench_ratio: The row's over the layer ``bench``, with its interval: does that process
            measure what ``edgecell bench`` measures?
        disturbed: What the rows were flagged with.
    """

    artifact: str
    engine: str
    bench_ms: float
    layers_ms: dict[Layer, float]
    added_us: dict[Layer, float]
    bench_ratio: Figure
    disturbed: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One artifact: its rows, and why a tool has none."""

    rows: tuple[PeerRow, ...]
    layers: tuple[LayerRow, ...]
    left_out: tuple[str, ...]


def agreement(ratio: Figure) -> Verdict:
    """Whether the whole interval lies within 5 % of 1, or beyond."""
    low, high = 1 - AGREED, 1 + AGREED
    if low <= ratio.low and ratio.high <= high:
        return "yes"
    return "no" if ratio.high < low or ratio.low > high else "open"


def ratio_with_rounding(
    theirs: Sequence[float], ours: Sequence[float], resolution: float
) -> Figure:
    """Theirs over ours, paired by round; what was rounded away widens the interval."""
    found = ratio_of_medians(np.array(theirs), np.array(ours))
    off = resolution / 2 / float(np.median(theirs))
    return Figure(found.value, found.low * (1 - off), found.high * (1 + off))


def tables(compared: Sequence[Compared]) -> list[Table]:
    """The tools, and what lies between."""
    rows = [row for one in compared for row in one.rows]
    found = [row for one in compared for row in one.layers]
    columns = (
        *("artifact", "engine", "tool", "of", "tool, ms", "edgecell's same, ms"),
        *("tool / same", "within 5 %", "tool / edgecell bench", "within 5 %", "notes"),
    )
    notes = list(dict.fromkeys(_note(row) for row in rows))
    cells = [
        (
            *(row.artifact, row.engine, row.tool, row.statistic),
            *(f"{row.tool_ms:.4g}", f"{row.edgecell_ms:.4g}"),
            *(_interval(row.ratio), row.within, _interval(row.bench_ratio), row.bench_within),
            f"[{notes.index(_note(row)) + 1}]",
        )
        for row in rows
    ]
    return [
        Table(
            "Other tools on the same file in the same minutes; one thread, batch 1", columns, cells
        ),
        Table(
            "What the tools time, what is held against it, what differs",
            ("note", "tool", "times", "edgecell's same", "what differs"),
            [(f"[{number}]", *note) for number, note in enumerate(notes, 1)],
        ),
        _layer_table(found),
    ]


def _note(row: PeerRow) -> tuple[str, str, str, str]:
    return row.tool, row.times, LAYER_WORDS[row.layer], "; ".join(row.remarks)


def _layer_table(rows: Sequence[LayerRow]) -> Table:
    columns = ("artifact", "engine", *(f"{LAYER_WORDS[layer]}, ms" for layer in LAYERS))
    cells = [
        (
            *(row.artifact, row.engine, *(_layer_cell(row, layer) for layer in LAYERS)),
            *(f"{row.bench_ms:.4g}", _interval(row.bench_ratio)),
        )
        for row in rows
    ]
    columns = (*columns, "edgecell bench, ms", "to the column before it")
    return Table("Between the engine and a row of edgecell bench (what is added)", columns, cells)


def _layer_cell(row: LayerRow, layer: Layer) -> str:
    if layer not in row.layers_ms:
        return "-"
    added = f" ({row.added_us[layer]:+.1f} us)" if layer in row.added_us else ""
    return f"{row.layers_ms[layer]:.4g}{added}"


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
