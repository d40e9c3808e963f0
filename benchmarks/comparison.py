"""The result of comparing files on real cells: one row a file, for machines and for people."""

from dataclasses import dataclass
from typing import Final

import scoring
from turns import TurnPlan

from edgecell import console
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.measure import LatencyStats

_NOTES: Final = (
    "Timed: one run of the graph at batch 1 on an input that has its dtype already, all files by "
    "turns in one process, which TensorFlow shares (so the Keras and SavedModel rows are "
    "TensorFlow in Python). Ratio: of medians, to edgecell's float32 of the same engine, with a 95 "
    "% bootstrap interval over rounds. Accuracy: 95 % intervals over patients; the change is "
    "against the Keras model on the same images, in points. Stock files are what the plain tools "
    "make of the same Keras model with the same calibration images."
)


@dataclass(frozen=True)
class Row:
    """What came out for one file.

    Attributes:
        file: Its name.
        maker: ``Keras``, ``edgecell`` or ``stock``.
        engine: What ran it.
        recipe: How it stores numbers.
        size_bytes: Its size.
        latency: Of one query at batch 1, the graph alone.
        ratio: Of the median to that of edgecell's float32 of the same engine.
        evaluation: On all test images.
        accuracy_change: Against the run's stored answers, a fraction.
        changed_labels: Share of images with another label than the run stored.
        largest_difference: Of a probability from the stored one.
        mean_difference: Mean over images of the largest difference over labels.
        undecided: Images whose two highest probabilities are equal; the first label counts.
    """

    file: str
    maker: str
    engine: str
    recipe: str
    size_bytes: int
    latency: LatencyStats
    ratio: Figure | None
    evaluation: Evaluation
    accuracy_change: Figure
    changed_labels: float
    largest_difference: float
    mean_difference: float
    undecided: int


@dataclass(frozen=True)
class Comparison:
    """The whole result."""

    circumstances: scoring.Circumstances
    run: str
    plan: TurnPlan
    n: int
    patients: int
    rows: tuple[Row, ...]
    refused: tuple[str, ...]
    notes: str = _NOTES


def as_markdown(comparison: Comparison) -> str:
    """The table and the line below it."""
    title = (
        f"{comparison.run}: {comparison.n:,} unseen cells of {comparison.patients} patients, "
        f"{comparison.plan.rounds} rounds"
    )
    columns = (
        *("file", "engine", "recipe", "MB", "median ms", "p90 ms", "ratio"),
        *("accuracy %", "change, points", "sensitivity %", "specificity %", "AUC"),
        *("labels changed %",),
    )
    table = console.Table(title, columns, [_cells(row) for row in comparison.rows])
    refused = [f"Refused: {sentence}" for sentence in comparison.refused]
    lines = [*refused, comparison.notes, comparison.circumstances.sentence()]
    return console.markdown_table(table) + "".join(f"\n{line}\n" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    figures, ratio = row.evaluation, row.ratio
    return (
        row.file,
        row.engine,
        row.recipe,
        f"{row.size_bytes / 1e6:.2f}",
        f"{row.latency.median_ms:.3f}",
        f"{row.latency.p90_ms:.3f}",
        "-" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        scoring.percent(figures.accuracy, interval=True),
        scoring.points(row.accuracy_change),
        scoring.percent(figures.sensitivity),
        scoring.percent(figures.specificity),
        "-" if figures.auc is None else f"{figures.auc.value:.4f}",
        f"{row.changed_labels * 100:.2f}",
    )
