"""Does a cell at its original size get the same answer as its 50-pixel crop?

``python benchmarks/original_sizes.py RUN --original ZIP --small ZIP`` scores artifacts on the same
cells in both forms. See ``benchmarks/README.md``.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import scoring
from numpy.typing import NDArray

from edgecell import console
from edgecell_export.output_capture import converter_output
from edgecell_export.savedmodel_session import open_classifier
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import DataError, EdgecellError, RunError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, open_labelled
from edgecell_runtime.manifest import Figure
from edgecell_train.runs import Run, find_run

GOAL: Final = 0.01
"""Accuracy at original sizes may differ by one point."""


@dataclass(frozen=True)
class Pairs:
    """The cells that both sets have.

    Attributes:
        original: The set of original sizes.
        small: The set of 50-pixel crops.
        cells: In the first set; the other has them under the same names.
        is_test: bool (n,), whether each is of the run's test part.
    """

    original: LabelledImages
    small: LabelledImages
    cells: tuple[LabelledImage, ...]
    is_test: NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """One artifact on one part of the cells.

    Attributes:
        file: The artifact's name.
        cells: ``all`` or ``test patients``.
        n: Number of cells.
        patients: That they come from.
        small: Accuracy on the 50-pixel crops, a fraction.
        original: Accuracy at the original sizes, a fraction.
        change: The second minus the first, with its interval over patients.
        changed_labels: Share of cells whose label differs between the two.
        mean_difference: Mean over cells of the largest difference of a probability.
        within_goal: Whether the accuracies are at most one point apart.
    """

    file: str
    cells: str
    n: int
    patients: int
    small: float
    original: float
    change: Figure
    changed_labels: float
    mean_difference: float
    within_goal: bool


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    run: str
    rows: tuple[Row, ...]


def main() -> None:
    """Scores, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    try:
        run = find_run(options.run)
        artifacts = options.artifact or _exact_artifacts(run)
        with open_pairs(run, options.original, options.small) as pairs:
            rows = [row for path in artifacts for row in score(path, pairs)]
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    result = Result(before, run.folder.name, tuple(rows))
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


@contextlib.contextmanager
def open_pairs(run: Run, original: Path, small: Path) -> Iterator[Pairs]:
    """Opens both sets and finds the cells that they share.

    Raises:
        DataError: They share none, or none of the run's test part.
    """
    part_of = {row.image.name: row.part for row in run.split()}
    with open_labelled(original) as first, open_labelled(small) as second:
        cells = tuple(cell for cell in first if second.get(cell.name) is not None)
        if len(cells) < len(first):
            console.warn(f"{len(first) - len(cells)} cells of {original} are not in {small}.")
        is_test = np.array([part_of.get(cell.name) == "test" for cell in cells], dtype=bool)
        if not is_test.any():
            raise DataError(
                f"{original} and {small} share no cell that the run {run.folder.name} tested; "
                "expected the sets of cells that it was trained on."
            )
        yield Pairs(first, second, cells, is_test)


def score(path: Path, pairs: Pairs) -> list[Row]:
    """Scores one artifact on all cells, and on those of test patients.

    Raises:
        ArtifactError: It is damaged or none.
        ImageError: A cell cannot be read.
    """
    console.say(f"Scoring {path.name} ...")
    with converter_output():  # engines say on standard error that they start
        classifier = open_classifier(path, threads=1)
    with classifier:
        small = _probabilities(classifier, pairs.small, pairs.cells)
        original = _probabilities(classifier, pairs.original, pairs.cells)
        truth = np.array([classifier.labels.index(cell.label) for cell in pairs.cells])
    patients = np.array([cell.patient for cell in pairs.cells], dtype=object)
    parts = {"all": np.ones_like(pairs.is_test), "test patients": pairs.is_test}
    return [
        _row(path.name, name, (small[part], original[part]), truth[part], patients[part].tolist())
        for name, part in parts.items()
    ]


def as_markdown(result: Result) -> str:
    """The table and the line below it."""
    columns = (
        *("file", "cells", "n", "patients", "50 pixels %", "original sizes %"),
        *("difference, points", "labels changed %", "mean difference", "within one point"),
    )
    table = console.Table(
        f"{result.run}: the same cells at 50 pixels and at their original sizes",
        columns,
        [_cells(row) for row in result.rows],
    )
    note = (
        "Differences of accuracy with 95 % intervals over patients. All cells include those that "
        "the model was trained on."
    )
    return console.markdown_table(table) + f"\n{note}\n\n{result.circumstances.sentence()}\n"


def _exact_artifacts(run: Run) -> list[Path]:
    """The run's float32 exports, which answer as the Keras model does."""
    found = sorted(path for path in run.exports.glob("*-float32.*") if path.suffix != ".md")
    if not found:
        raise RunError(
            f"The run {run.folder} has no float32 artifact; run `edgecell export` first, or name "
            "artifacts with --artifact."
        )
    return found


def _probabilities(
    classifier: Classifier, images: LabelledImages, cells: Sequence[LabelledImage]
) -> NDArray[np.float64]:
    apply = classifier.manifest.preprocessing.apply
    rows = [classifier.probabilities(apply(images.read(cell))[np.newaxis]) for cell in cells]
    return np.concatenate(rows)


def _row(
    file: str,
    cells: str,
    answers: tuple[NDArray[np.float64], NDArray[np.float64]],
    truth: NDArray[np.int64],
    patients: Sequence[str | None],
) -> Row:
    small, original = (answer.argmax(axis=1) for answer in answers)
    change = scoring.accuracy_change(small == truth, original == truth, patients)
    return Row(
        file=file,
        cells=cells,
        n=len(truth),
        patients=len(set(patients) - {None}),
        small=float(np.mean(small == truth)),
        original=float(np.mean(original == truth)),
        change=change,
        changed_labels=float(np.mean(small != original)),
        mean_difference=float(np.abs(answers[0] - answers[1]).max(axis=1).mean()),
        within_goal=abs(change.value) <= GOAL,
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.file,
        row.cells,
        f"{row.n:,}",
        str(row.patients),
        f"{row.small * 100:.2f}",
        f"{row.original * 100:.2f}",
        scoring.points(row.change),
        f"{row.changed_labels * 100:.2f}",
        f"{row.mean_difference:.4f}",
        "yes" if row.within_goal else "no",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    for name, archive in (
        ("--original", "nlm-cells-original-sizes.zip"),
        ("--small", "nlm-cells-50px.zip"),
    ):
        default = scoring.data_file(archive)
        parser.add_argument(
            name,
            type=Path,
            default=default,
            required=default is None,
            help=f"zip or folder; {archive} in the folder that EDGECELL_DATA names",
        )
    parser.add_argument(
        "--artifact",
        type=Path,
        nargs="+",
        default=[],
        help="what to score; the run's float32 exports",
    )
    scoring.add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
