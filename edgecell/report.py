"""The report of a run: one HTML file for people, without anything to load from elsewhere."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgecell.report_pictures import Sample, picture, png_uri
from edgecell_export.card import RESEARCH_USE, figures
from edgecell_export.source import Answer
from edgecell_runtime import metrics
from edgecell_runtime.errors import MissingPartError
from edgecell_runtime.files import write_text
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Figure
from edgecell_runtime.measure import BenchmarkResult
from edgecell_runtime.system import SystemInfo
from edgecell_train.runs import Run, RunRecord, SplitRow
from edgecell_train.split import PARTS

_SAMPLES_PER_CLASS: Final = 8
_SAMPLES: Final = 32
_MISTAKES: Final = 8


def render_report(
    run: Run,
    images: LabelledImages | None,
    benchmark: Sequence[BenchmarkResult] = (),
    system: SystemInfo | None = None,
) -> str:
    """Writes the report of a run as HTML; the same arguments give the same text.

    Args:
        run: The run.
        images: Its images; where there is none, or it is another file than the run knew, its place
            says so.
        benchmark: What its artifacts were measured to do.
        system: What they were measured on.

    Raises:
        RunError: The run is damaged.
        MissingPartError: jinja2 is not installed.
    """
    page = _page(run, images, benchmark, system)
    html: str = _environment().get_template("report.html.jinja").render(page=page)
    return html.encode("utf-8", "backslashreplace").decode()  # file names may hold any byte


def write_report(
    path: Path,
    run: Run,
    images: LabelledImages | None,
    benchmark: Sequence[BenchmarkResult] = (),
    system: SystemInfo | None = None,
) -> None:
    """Writes the report of a run to a file; see ``render_report``.

    Raises:
        RunError: The run is damaged.
        MissingPartError: jinja2 is not installed.
        StorageError: The file could not be written.
    """
    write_text(path, render_report(run, images, benchmark, system))


@dataclass(frozen=True)
class KeyFigure:
    """A figure and what it says."""

    name: str
    figure: Figure
    meaning: str


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
        result: What was measured.
        change: Its accuracy minus the source model's; None unless both were measured on the test
            images.
    """

    result: BenchmarkResult
    change: float | None


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    name: str
    record: RunRecord
    research_use: str
    key_figures: tuple[KeyFigure, ...]
    samples: dict[str, tuple[Sample, ...]]
    mistakes: tuple[Sample, ...]
    wrong: int
    history: str | None
    confusion: dict[str, tuple[ConfusionCell, ...]]
    benchmark: tuple[BenchmarkRow, ...]
    system: SystemInfo | None
    parts: tuple[str, ...]
    split: dict[str, tuple[SplitCell, ...]]
    split_total: tuple[SplitCell, ...]
    crossing: tuple[str, ...]


def _page(
    run: Run,
    images: LabelledImages | None,
    benchmark: Sequence[BenchmarkResult],
    system: SystemInfo | None,
) -> Page:
    record, answers, rows = run.record, run.answers(), run.split()
    patients = {row.image.name: row.image.patient for row in rows}

    def sample(answer: Answer) -> Sample:
        said, known = int(np.argmax(answer.probabilities)), answer.image
        shown = picture(images, known, record.preprocessing.background)
        return Sample(
            name=known.name,
            label=known.label,
            patient=patients.get(known.name),
            said=record.labels[said],
            probability=answer.probabilities[said],
            picture=shown,
        )

    wrong = [answer for answer in answers if not _is_right(answer, record.labels)]
    worst = sorted(wrong, key=lambda answer: (-max(answer.probabilities), answer.image.name))
    chosen = _by_lot(answers, record)
    return Page(
        name=run.folder.name,
        record=record,
        research_use=RESEARCH_USE,
        key_figures=tuple(_key_figures(record)),
        samples={label: tuple(map(sample, drawn)) for label, drawn in chosen.items()},
        mistakes=tuple(map(sample, worst[:_MISTAKES])),
        wrong=len(wrong),
        history=png_uri(run.folder / "history.png"),
        confusion=_confusion(answers, record.labels),
        benchmark=tuple(_benchmark_row(result, record) for result in benchmark),
        system=system,
        parts=PARTS,
        split={
            label: _split_cells([row for row in rows if row.image.label == label])
            for label in record.labels
        },
        split_total=_split_cells(rows),
        crossing=_crossing(rows),
    )


def _is_right(answer: Answer, labels: tuple[str, ...]) -> bool:
    return labels[int(np.argmax(answer.probabilities))] == answer.image.label


def _by_lot(answers: Sequence[Answer], record: RunRecord) -> dict[str, list[Answer]]:
    """Test images of each class, drawn by the run's seed and not by how they turned out.

    By hash and not by a generator, so that the choice is the same with any version of any library.
    """

    def lot(answer: Answer) -> bytes:
        return hashlib.sha256(f"{record.seed} {answer.image.sha256}".encode()).digest()

    labels = record.labels[:_SAMPLES]
    each = min(_SAMPLES_PER_CLASS, _SAMPLES // len(labels))
    drawn = sorted(answers, key=lot)
    return {
        label: [answer for answer in drawn if answer.image.label == label][:each]
        for label in labels
    }


def _key_figures(record: RunRecord) -> list[KeyFigure]:
    positive, threshold = record.positive_label, record.threshold
    meanings = {
        "accuracy": "of all test images got the right label",
        "sensitivity": f"of those that show {positive} were found",
        "specificity": f"of those that do not show {positive} were left alone",
        "AUC": f"chance that an image of {positive} scores above one of another class",
    }
    at = {"sensitivity", "specificity"} if threshold != 0.5 else set()
    return [
        KeyFigure(
            name,
            figure,
            meanings[name] + (f" (from a probability of {threshold:g} on)" if name in at else ""),
        )
        for name, figure in figures(record.evaluation)
    ]


def _confusion(
    answers: Sequence[Answer], labels: tuple[str, ...]
) -> dict[str, tuple[ConfusionCell, ...]]:
    truth = np.array([labels.index(answer.image.label) for answer in answers], dtype=np.int64)
    said = np.array([np.argmax(answer.probabilities) for answer in answers], dtype=np.int64)
    counts = metrics.confusion(truth, said, len(labels))
    return {
        label: tuple(
            ConfusionCell(int(count), count / max(row.sum(), 1), column == index)
            for column, count in enumerate(row)
        )
        for index, (label, row) in enumerate(zip(labels, counts, strict=True))
    }


def _benchmark_row(result: BenchmarkResult, record: RunRecord) -> BenchmarkRow:
    evaluation = record.evaluation
    if result.accuracy is None or result.n != evaluation.n:
        return BenchmarkRow(result, None)
    return BenchmarkRow(result, result.accuracy - evaluation.accuracy.value)


def _split_cells(rows: Sequence[SplitRow]) -> tuple[SplitCell, ...]:
    """One cell a part, then one of all parts together."""
    cells = []
    for parts in (*((part,) for part in PARTS), PARTS):
        found = [row.image.patient for row in rows if row.part in parts]
        cells.append(SplitCell(len(found), len(set(found) - {None})))
    return tuple(cells)


def _crossing(rows: Sequence[SplitRow]) -> tuple[str, ...]:
    """Patients with images in more than one part; there should be none."""
    pairs = {(row.image.patient, row.part) for row in rows if row.image.patient is not None}
    parts_of = Counter(patient for patient, _ in pairs)
    return tuple(sorted(patient for patient, count in parts_of.items() if count > 1))


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPartError(
            "A report needs jinja2: pip install 'edgecell[train]' (Python 3.11 to 3.13)."
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgecell"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[[float], str]] = {
        "number": lambda value: f"{value:,}",
        "fraction": lambda value: f"{value:.3f}",
        "percent": lambda value: f"{value * 100:.1f} %",
        "points": lambda value: f"{value * 100:+.2f}".replace("-", "−"),  # noqa: RUF001 - a minus
        "short": lambda value: f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}",
    }
    environment.filters.update(filters)
    return environment
