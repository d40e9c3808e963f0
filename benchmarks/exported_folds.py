"""What do the exported files of a cross-validation get right, each on patients it does not know?

``python benchmarks/exported_folds.py FOLDS [FOLDS ...]`` exports every fold as int8 TFLite, asks
each file about the patients that its fold was tested on, and pools the answers. See
``benchmarks/README.md``.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scoring
from numpy.typing import NDArray

from edgecell_export.card import figure_text
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.output_capture import converter_output
from edgecell_export.recipes import RECIPES
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train.cross_validation import finished_folds, stored_config
from edgecell_train.pooling import pooled_evaluation
from edgecell_train.runs import Run
from edgecell_train.statistics import Tested, evaluate_tested
from edgecell_train.tested_runs import disputed_of, tested_of


@dataclass(frozen=True)
class Row:
    """The files of one cross-validation.

    Attributes:
        preset: Of its folds.
        largest_bytes: The largest of them, the manifest included.
        source: Figures of the float models.
        evaluation: Figures of the files.
        undisputed: The same without disputed labels; None where none is known.
        change: Accuracy of the files minus that of the float models, paired over patients.
        changed_labels: Share of images whose label the files change.
        mean_auc: Mean over the files of the AUC of each on its own images; the others are pooled.
    """

    preset: str
    largest_bytes: int
    source: Evaluation
    evaluation: Evaluation
    undisputed: Evaluation | None
    change: Figure
    changed_labels: float
    mean_auc: float


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold's file.

    Attributes:
        source: The float model's answers on its test patients.
        exported: The file's, on the same images.
        disputed: bool (n,), whether somebody disputes the label.
        size_bytes: Of the file.
    """

    source: Tested
    exported: Tested
    disputed: NDArray[np.bool_]
    size_bytes: int


def main() -> int:
    """Prints a table, and writes it where ``--output`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folds", type=Path, nargs="+", help="folders of cross-validations")
    parser.add_argument("--data", type=Path, default=scoring.data_file("nlm-cells-50px.zip"))
    scoring.add_output(parser)
    given = parser.parse_args()
    try:
        about = scoring.circumstances(1)
        rows = tuple(measure(folder, given.data) for folder in given.folds)
        result = Result(about, rows)
        scoring.write(result, text_of(result), given.output)
    except EdgecellError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(text_of(result))
    return 0


def measure(folder: Path, data: Path | None) -> Row:
    """Exports every fold of a cross-validation and scores the files."""
    config = stored_config(folder)
    folds = [exported_fold(run, data) for run in finished_folds(folder)]
    undisputed = [fold.exported.only(~fold.disputed) for fold in folds]
    any_disputed = any(fold.disputed.any() for fold in folds)
    right = [(_right(fold.source), _right(fold.exported)) for fold in folds]
    before, after = (np.concatenate(column) for column in zip(*right, strict=True))
    patients = [patient for fold in folds for patient in fold.source.patients]
    said = [
        fold.source.probabilities.argmax(axis=1) != fold.exported.probabilities.argmax(axis=1)
        for fold in folds
    ]
    return Row(
        config.preset,
        max(fold.size_bytes for fold in folds),
        pooled_evaluation([fold.source for fold in folds]),
        pooled_evaluation([fold.exported for fold in folds]),
        pooled_evaluation(undisputed) if any_disputed else None,
        scoring.accuracy_change(before, after, patients),
        float(np.concatenate(said).mean()),
        float(np.mean([_auc(fold.exported) for fold in folds])),
    )


def exported_fold(run: Run, data: Path | None) -> Fold:
    """Exports a fold as int8 TFLite and asks the file."""
    print(f"exporting {run.folder} ...", file=sys.stderr)
    with run.open_images(data) as images, tempfile.TemporaryDirectory() as folder:
        with Exporter(run.source_model(), run.evidence(images)) as exporter:
            recipe = RECIPES["static_int8"]
            file = exporter.export(CONVERTERS["tflite"], recipe, Path(folder)).path
        source = tested_of(run)
        exported, size = _asked(run, images, file, source), file.stat().st_size
    disputed = disputed_of(run)
    marked = np.array([answer.image.name in disputed for answer in run.answers()])
    return Fold(source, exported, marked, size)


def _asked(run: Run, images: LabelledImages, file: Path, source: Tested) -> Tested:
    """The file's own answers, from the image files on, in the order of ``source``."""

    def read(name: str) -> bytes:
        image = images.get(name)
        assert image is not None, "the run tested it"
        data = images.read(image)
        assert isinstance(data, bytes)
        return data

    names = [answer.image.name for answer in run.answers()]
    with converter_output(), Classifier.open(file, threads=1) as classifier:
        answers = list(classifier.predict_many(map(read, names)))
    rows = [[answer.probabilities[label] for label in source.labels] for answer in answers]
    return Tested(
        source.truth,
        np.array(rows),
        source.patients,
        source.labels,
        source.positive_label,
        source.threshold,
    )


def _right(tested: Tested) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = tested.probabilities.argmax(axis=1) == tested.truth
    return right


def _auc(tested: Tested) -> float:
    auc = evaluate_tested(tested).auc
    assert auc is not None, "cells have a positive label"
    return auc.value


def text_of(result: Result) -> str:
    """The result as Markdown."""
    lines = [
        "# What the int8 files of a cross-validation get right",
        "",
        "Each fold's model exported as int8 TFLite and asked about the patients that it was not "
        "trained on, from the image file on; accuracy of the likeliest label, sensitivity and "
        "specificity at each fold's own threshold; 95 % intervals over patients.",
        "",
        "| preset | largest file, bytes | accuracy | sensitivity | specificity | AUC | AUC, "
        "mean of folds | accuracy without disputed labels | float32 accuracy | int8 minus float, "
        "points | labels changed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(_line, result.rows),
        "",
        result.circumstances.sentence(),
        "",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    found = row.evaluation
    shown = (found.accuracy, found.sensitivity, found.specificity, found.auc)
    cells = [
        row.preset,
        f"{row.largest_bytes:,}",
        *("-" if figure is None else figure_text(figure) for figure in shown),
        f"{row.mean_auc:.4f}",
        "-" if row.undisputed is None else figure_text(row.undisputed.accuracy),
        figure_text(row.source.accuracy),
        scoring.points(row.change),
        f"{row.changed_labels:.2%}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
