"""How far do 1,000 cells go, and what does each cure against small data bring?

``python benchmarks/small_data.py DATA --work FOLDER`` trains on a few hundred cells a class without
a cure, with BatchNormalization's averages estimated anew, and with ``--small-data``, and tests each
on patients that none of them saw. See ``benchmarks/README.md``.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import scoring
from few_cells import FewCells, run_edgecell, write_few_cells

from edgecell_export.card import figure_text
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.manifest import Evaluation
from edgecell_train.history import read_history
from edgecell_train.runs import HISTORY, LATEST, find_run

_LAGGING: Final = ("--epochs", "25", "--set", "reestimate_averages=false")
CURES: Final = {
    "none, the last epoch": (*_LAGGING, "--set", "stopping.keep=last"),
    "none, the best epoch": _LAGGING,
    "averages estimated anew": ("--epochs", "25"),
    "--small-data": ("--small-data",),
}
"""What is added to ``edgecell train``."""


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        cure: What it does against small data.
        options: That were added.
        kept_epoch: Of how many ``epochs``.
        epochs: That were trained.
        training_accuracy: In the kept epoch, as the steps went, a fraction.
        evaluation: On the unseen patients.
    """

    cure: str
    options: str
    kept_epoch: int
    epochs: int
    training_accuracy: float
    evaluation: Evaluation


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    preset: str
    cells: int
    rows: tuple[Row, ...]


def main() -> None:
    """Trains, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    wanted = FewCells(options.data, options.preset, options.cells, options.seed)
    try:
        data = write_few_cells(wanted, options.work / "cells.npz")
        rows = tuple(_row(cure, data, options) for cure in CURES)
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    result = Result(before, options.preset, options.cells, rows)
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)
    run_edgecell(
        "compare",
        *(str(_folder(cure, options)) for cure in CURES),
        "--output",
        str(options.work / "compare.html"),
    )


def as_markdown(result: Result) -> str:
    """The table and the line below it."""
    test = result.rows[0].evaluation
    lines = [
        f"# {result.preset} trained on {result.cells:,} cells, tested on {test.n:,} cells of "
        f"{test.patients:,} unseen patients",
        "",
        "| cure | kept epoch | training accuracy | accuracy | sensitivity | specificity | AUC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result.rows:
        figures = row.evaluation
        shown = (figures.accuracy, figures.sensitivity, figures.specificity, figures.auc)
        cells = ["-" if figure is None else figure_text(figure) for figure in shown]
        lines.append(
            f"| {row.cure} | {row.kept_epoch} of {row.epochs} | {row.training_accuracy:.3f} | "
            f"{' | '.join(cells)} |"
        )
    lines += ["", result.circumstances.sentence(), ""]
    return "\n".join(lines)


def _row(cure: str, data: Path, options: argparse.Namespace) -> Row:
    folder = _folder(cure, options)
    if not folder.is_dir():
        _train(cure, data, options)
    run = find_run(folder)
    history, kept = read_history(folder / HISTORY), run.record.kept_epoch
    return Row(
        cure=cure,
        options=" ".join(CURES[cure]),
        kept_epoch=kept,
        epochs=len(history),
        training_accuracy=history[kept - 1].accuracy,
        evaluation=run.record.evaluation,
    )


def _folder(cure: str, options: argparse.Namespace) -> Path:
    name = "-".join(word.strip("-,") for word in cure.split())
    return Path(options.work / name)


def _train(cure: str, data: Path, options: argparse.Namespace) -> None:
    """Trains, and gives the run the cure's name: a command that is given again goes on."""
    runs = options.work / "runs"
    common = ("--data", str(data), "--preset", options.preset, "--seed", str(options.seed))
    run_edgecell("train", *common, "--no-cache", "--out", str(runs), *CURES[cure])
    find_run(runs / LATEST).folder.rename(_folder(cure, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="labelled images of known patients")
    parser.add_argument("--work", type=Path, required=True, help="folder for cells and runs")
    parser.add_argument("--preset", default="malaria-cnn")
    parser.add_argument("--cells", type=int, default=1000, help="of all classes, to train on")
    parser.add_argument("--seed", type=int, default=0, help="of cells, split and training")
    scoring.add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
