"""Does every preset for images train, export and keep its answers at its full size?

``python benchmarks/presets.py DATA --work FOLDER`` trains each on a few cells, ``mnist-cnn`` on
MNIST, and exports it to TFLite and ONNX. See ``benchmarks/README.md``.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import scoring
from few_cells import FewCells, run_edgecell, try_edgecell, write_few_cells

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.manifest import Figure, Parity
from edgecell_train.presets import PRESETS, Preset
from edgecell_train.runs import LATEST, find_run

FILES: Final = (("tflite", "static_int8"), ("onnx", "float32"), ("onnx", "static_int8"))
"""The forms and recipes that each is exported to."""


@dataclass(frozen=True)
class Row:
    """One exported file.

    Attributes:
        preset: Its name.
        accuracy: Of the source model, on the unseen images.
        form: Of the file.
        recipe: How its numbers are stored.
        size_bytes: Of the file; None where the export was refused.
        parity: How far its answers are from the source model's; None likewise.
    """

    preset: str
    accuracy: Figure
    form: str
    recipe: str
    size_bytes: int | None
    parity: Parity | None


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    cells: int
    epochs: int
    rows: tuple[Row, ...]


def main() -> None:
    """Trains, exports, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    try:
        rows = tuple(row for name in options.presets for row in _rows(PRESETS[name], options))
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    result = Result(before, options.cells, options.epochs, rows)
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


def as_markdown(result: Result) -> str:
    """The table and the line below it."""
    lines = [
        f"# Presets at full size after {result.epochs} epochs on {result.cells:,} cells (MNIST "
        "whole)",
        "",
        "| preset | accuracy of the Keras model | file | bytes | largest difference of a "
        "probability | labels changed | accuracy, points |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result.rows:
        accuracy = scoring.percent(row.accuracy, interval=True)
        lines.append(f"| {row.preset} | {accuracy} | {row.form} {row.recipe} | {_cells_of(row)} |")
    return "\n".join([*lines, "", result.circumstances.sentence(), ""])


def _cells_of(row: Row) -> str:
    if row.parity is None:
        return "refused: its answers differed too much | | | "
    return (
        f"{row.size_bytes:,} | {row.parity.largest_difference:.2g} | "
        f"{row.parity.changed_labels:.2%} of {row.parity.sample:,} | "
        f"{row.parity.accuracy_change * 100:+.2f}"
    )


def _rows(preset: Preset, options: argparse.Namespace) -> list[Row]:
    """Trains and exports one preset; what an earlier call left is taken as it is."""
    folder: Path = options.work / preset.name
    if not (folder / "runs" / LATEST).exists():
        data = options.mnist if preset.preprocessing.channels == 1 else _cells(preset, options)
        run_edgecell(
            *("train", "--data", str(data), "--preset", preset.name, "--no-cache"),
            *("--epochs", str(options.epochs), "--out", str(folder / "runs")),
        )
    run = find_run(folder / "runs" / LATEST)
    rows = []
    for form, recipe in FILES:
        out = folder / f"{form}-{recipe}"
        accuracy = run.record.evaluation.accuracy
        if not list(out.glob(f"*.{form}")):
            common = ("export", str(run.folder), "--format", form, "--recipe", recipe)
            if try_edgecell(*common, "--out", str(out)):
                rows.append(Row(preset.name, accuracy, form, recipe, None, None))
                continue
        (path,) = out.glob(f"*.{form}")
        artifact = read_artifact(path)
        size, parity = artifact.size_bytes, artifact.manifest.parity
        rows.append(Row(preset.name, accuracy, form, recipe, size, parity))
    return rows


def _cells(preset: Preset, options: argparse.Namespace) -> Path:
    wanted = FewCells(options.data, preset.name, options.cells)
    return write_few_cells(wanted, options.work / preset.name / "cells.npz")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="labelled images of known patients")
    parser.add_argument("--mnist", type=Path, default=scoring.data_file("mnist.npz"))
    parser.add_argument("--work", type=Path, required=True, help="folder for cells and runs")
    parser.add_argument("--cells", type=int, default=3000, help="of all classes, to train on")
    parser.add_argument("--epochs", type=int, default=4)
    images = [name for name, preset in PRESETS.items() if preset.preprocessing.depth is None]
    parser.add_argument("--presets", choices=images, nargs="+", default=images)
    scoring.add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
