"""The tables of a report: figures, confusion matrix, split, artifacts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgecell.tasks.bench.words import measured
from edgecell_export.card import AT_THRESHOLD, figures
from edgecell_runtime import metrics
from edgecell_runtime.bench.results import Benchmark, Row
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import SplitRow
from edgecell_train.split import PARTS
from edgecell_train.statistics import Tested


@dataclass(frozen=True)
class FigureRow:
    """A figure and what it says.

    Attributes:
        name: Of the figure.
        figure: On all test images.
        meaning: What it says.
        undisputed: On the images whose label nobody disputes; None where none is known to be
            disputed, or it has no meaning there.
    """

    name: str
    figure: Figure
    meaning: str
    undisputed: Figure | None = None


@dataclass(frozen=True)
class ConfusionCell:
    """Images of one class that were given one label, and their share of the class."""

    images: int
    share: float
    right: bool


@dataclass(frozen=True)
class SplitCell:
    """Images and known patients of one class in one part of the split."""

    images: int
    patients: int


@dataclass(frozen=True)
class BenchmarkRow:
    """A measured artifact.

    Attributes:
        single: Its single stream.
        offline: Its throughput; None where that was not measured.
        change: Its accuracy minus the source model's; None unless both were measured on the test
            images.
    """

    single: Row
    offline: Row | None
    change: float | None


def figure_rows(record: RunRecord, undisputed: Evaluation | None) -> list[FigureRow]:
    """The figures of a run.

    Args:
        record: What the run says of itself.
        undisputed: The figures without disputed images, where there are some.
    """
    positive = record.positive_label
    meanings = {
        "accuracy": "of all test images got the right label, taking the likeliest",
        "sensitivity": f"of those that show {positive} were found",
        "specificity": f"of those that do not show {positive} were left alone",
        "precision": f"of those that were taken for {positive} do show it",
        "F1": "harmonic mean of precision and sensitivity",
        "macro F1": "mean of the classes' F1 for the likeliest label, each class counting the same",
        "AUC": f"chance that an image of {positive} scores above one of another class",
        "average precision": f"precision on the way from the surest {positive} image to the last",
        "Brier score": "mean squared error of the probabilities, half its sum over the labels; 0 "
        "is perfect",
        "calibration error": "mean distance between how sure and how right the model is (15 bins); "
        "0 is perfect, and chance alone makes it larger",
    }
    at = f" (decided from a probability of {record.threshold:.3g} on)"
    if record.evaluation.folds is not None:
        at = " (decided at each fold's own threshold)"
    without = dict(figures(undisputed)) if undisputed is not None else {}
    return [
        FigureRow(
            name,
            figure,
            meanings[name] + (at if name in AT_THRESHOLD else ""),
            without.get(name),
        )
        for name, figure in figures(record.evaluation)
    ]


def confusion(tested: Tested) -> dict[str, tuple[ConfusionCell, ...]]:
    """The confusion matrix: by true label, one cell a label that was given."""
    labels = tested.labels
    said = tested.probabilities.argmax(axis=1)
    counts = metrics.confusion(tested.truth, said, len(labels))
    return {
        label: tuple(
            ConfusionCell(int(count), count / max(row.sum(), 1), column == index)
            for column, count in enumerate(row)
        )
        for index, (label, row) in enumerate(zip(labels, counts, strict=True))
    }


def decision_counts(tested: Tested) -> metrics.Counts | None:
    """How decisions at the threshold and truth meet; None without a positive label."""
    is_positive, score = tested.is_positive, tested.score
    if is_positive is None or score is None:
        return None
    return metrics.count(is_positive, score >= tested.threshold)


def benchmark_rows(benchmark: Benchmark | None, record: RunRecord) -> tuple[BenchmarkRow, ...]:
    """What was measured in a single stream, beside the run's own accuracy."""
    if benchmark is None:
        return ()
    rows = []
    for line in measured(benchmark):
        single = line.of("single_stream")
        if single is None or single.latency is None:
            continue
        found, own = single.evaluation, record.evaluation
        change = None
        if found is not None and found.n == own.n:
            change = found.accuracy.value - own.accuracy.value
        rows.append(BenchmarkRow(single, line.of("offline"), change))
    return tuple(rows)


def split_cells(rows: Sequence[SplitRow]) -> tuple[SplitCell, ...]:
    """One cell a part, then one of all parts together."""
    cells = []
    for parts in (*((part,) for part in PARTS), PARTS):
        found = [row.image.patient for row in rows if row.part in parts]
        cells.append(SplitCell(len(found), len(set(found) - {None})))
    return tuple(cells)


def crossing_patients(rows: Sequence[SplitRow]) -> tuple[str, ...]:
    """Patients with images in more than one part; there should be none."""
    pairs = {(row.image.patient, row.part) for row in rows if row.image.patient is not None}
    parts_of = Counter(patient for patient, _ in pairs)
    return tuple(sorted(patient for patient, count in parts_of.items() if count > 1))
