"""A benchmark as CSV: one line a row of the result, all figures with all their digits."""

import csv
import dataclasses
import io
import types
import typing
from collections.abc import Iterator

from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark, Row
from edgecell_runtime.codec import Json

_COMPARED = ("ratio.value", "ratio.low", "ratio.high", "verdict", "failing")
"""Of a row that was compared; ``old`` says of each row whether it is what was compared with."""

_LEFT_OUT = "histogram"
"""The JSON file has it."""


def as_csv(benchmark: Benchmark) -> str:
    """One line a row of the result.

    The columns are the same for every result: those of ``Row``, nested keys joined by a dot
    (``latency.median_ms.low``), empty where a row has no such figure. Lists and tables by name are
    one cell, items joined by ``; ``. The machine, the date, the kind of images and the ratio to the
    first row stand in every line, so that files of several machines can be put under one another.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns())
    ratios = {ratio.row: ratio for ratio in benchmark.ratios}
    compared = {row.row: row for row in benchmark.comparison.rows} if benchmark.comparison else {}
    old = benchmark.comparison.old if benchmark.comparison else ()
    system = benchmark.system
    for index, row in enumerate(benchmark.rows):
        document, ratio = codec.encode(row), ratios.get(index)
        against = ["", "", "", ""]
        if ratio is not None:
            figure = ratio.ratio
            against = [_cell(v) for v in (ratio.base, figure.value, figure.low, figure.high)]
        beside = codec.encode(compared[index]) if index in compared else None
        writer.writerow(
            [benchmark.time, system.processor, system.os, benchmark.images]
            + [_cell(_at(document, column)) for column in _row_columns(Row)]
            + against
            + [str(row.target.artifact in old) if old else ""]
            + [_cell(_at(beside, column)) for column in _COMPARED]
        )
    return buffer.getvalue()


def columns() -> list[str]:
    """The header."""
    against = ["base_row", "ratio.value", "ratio.low", "ratio.high"]
    compared = ["old", *(f"comparison.{name}" for name in _COMPARED)]
    return ["time", "processor", "os", "image_kind", *_row_columns(Row), *against, *compared]


def _row_columns(kind: type, prefix: str = "") -> Iterator[str]:
    """The places of a dataclass's figures, those of the dataclasses in it included."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner, name = _dataclass(hints[field.name]), f"{prefix}{field.name}"
        if inner is not None:
            yield from _row_columns(inner, f"{name}.")
        elif not field.name.startswith(_LEFT_OUT):
            yield name


def _dataclass(hint: object) -> type | None:
    """The dataclass that a type is, or may be besides None."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    found = (part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part))
    return next(found, None)


def _at(document: Json, place: str) -> Json:
    """What stands at a place; None where a part on the way there is absent."""
    for key in place.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _cell(document: Json) -> str:
    if isinstance(document, dict):
        return "; ".join(f"{key}={_cell(item)}" for key, item in document.items())
    if isinstance(document, list):
        return "; ".join(
            ": ".join(map(_cell, item.values())) if isinstance(item, dict) else _cell(item)
            for item in document
        )
    return "" if document is None else str(document)
