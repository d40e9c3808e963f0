"""The report of a run: one HTML file for people, without anything to load from elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell.report_pictures import Sample, heated, picture
from edgecell.report_plots import Plots, draw
from edgecell.report_tables import (
    BenchmarkRow,
    ConfusionCell,
    FigureRow,
    SplitCell,
    benchmark_row,
    confusion,
    crossing_patients,
    decision_counts,
    figure_rows,
    split_cells,
)
from edgecell_export.card import RESEARCH_USE
from edgecell_export.source import Answer
from edgecell_runtime.errors import MissingPartError
from edgecell_runtime.files import write_text
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.measure import BenchmarkResult
from edgecell_runtime.metrics import Counts
from edgecell_runtime.system import SystemInfo
from edgecell_train.explaining import explained
from edgecell_train.patient_table import PatientRow, patient_rows
from edgecell_train.runs import Run, RunRecord
from edgecell_train.split import PARTS
from edgecell_train.statistics import Tested, evaluate_tested
from edgecell_train.tested_runs import by_lot, disputed_of, is_right, tested_of

_SAMPLES_PER_CLASS: Final = 8
_SAMPLES: Final = 32
_MISTAKES: Final = 8
_KEY_FIGURES: Final = 4


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
class Page:
    """Everything that the template shows.

    Attributes:
        name: Of the run.
        record: What it says of itself.
        research_use: What the software is not for.
        figures: All figures; the first few stand above the others.
        key_figures: How many.
        disputed: How many test images have a disputed label.
        samples: Test images by class, drawn by lot.
        mistakes: The surest ones.
        wrong: How many test images got a wrong label.
        looks: Test images with where the net looked.
        plots: Curves.
        confusion: By true label, then by the label given.
        decisions: How decisions at the threshold turned out; None without a positive label.
        patients: The figures of each patient, the worst first; empty where none is known.
        benchmark: Measured artifacts.
        system: What they were measured on.
        parts: Of the split.
        split: Images and patients by class, then by part.
        split_total: Of all classes.
        crossing: Patients in more than one part.
    """

    name: str
    record: RunRecord
    research_use: str
    figures: tuple[FigureRow, ...]
    key_figures: int
    disputed: int
    samples: dict[str, tuple[Sample, ...]]
    mistakes: tuple[Sample, ...]
    wrong: int
    looks: tuple[Sample, ...]
    plots: Plots
    confusion: dict[str, tuple[ConfusionCell, ...]]
    decisions: Counts | None
    patients: tuple[PatientRow, ...]
    benchmark: tuple[BenchmarkRow, ...]
    system: SystemInfo | None
    parts: tuple[str, ...]
    split: dict[str, tuple[SplitCell, ...]]
    split_total: tuple[SplitCell, ...]
    crossing: tuple[str, ...]


class _Samples:
    """Makes samples of a run's test images."""

    def __init__(self, run: Run, tested: Tested, images: LabelledImages | None) -> None:
        self._record, self._images = run.record, images
        self.answers = run.answers()
        names = [answer.image.name for answer in self.answers]
        self._patients = dict(zip(names, tested.patients, strict=True))
        self._heat = {one.name: one.heat for one in explained(run)}

    def of(self, answer: Answer) -> Sample:
        """One test image."""
        said, known = int(np.argmax(answer.probabilities)), answer.image
        background = self._record.preprocessing.background
        heat = self._heat.get(known.name)
        return Sample(
            name=known.name,
            label=known.label,
            patient=self._patients.get(known.name),
            said=self._record.labels[said],
            probability=answer.probabilities[said],
            picture=picture(self._images, known, background),
            heat=None if heat is None else heated(self._images, known, background, heat),
        )

    def by_class(self) -> dict[str, tuple[Sample, ...]]:
        """Some of each class, drawn by lot."""
        labels = self._record.labels[:_SAMPLES]
        each = min(_SAMPLES_PER_CLASS, _SAMPLES // len(labels))
        drawn = by_lot(self.answers, self._record)
        chosen = {
            label: [answer for answer in drawn if answer.image.label == label][:each]
            for label in labels
        }
        return {label: tuple(map(self.of, answers)) for label, answers in chosen.items()}

    def looks(self) -> tuple[Sample, ...]:
        """Those with a map of where the net looked, the right ones first."""
        shown = [answer for answer in self.answers if answer.image.name in self._heat]
        return tuple(map(self.of, sorted(shown, key=lambda one: not is_right(one, self._record))))


def _page(
    run: Run,
    images: LabelledImages | None,
    benchmark: Sequence[BenchmarkResult],
    system: SystemInfo | None,
) -> Page:
    record, rows, tested = run.record, run.split(), tested_of(run)
    samples = _Samples(run, tested, images)
    wrong = [answer for answer in samples.answers if not is_right(answer, record)]
    worst = sorted(wrong, key=lambda answer: (-max(answer.probabilities), answer.image.name))
    names = disputed_of(run)
    disputed = np.array([answer.image.name in names for answer in samples.answers])
    return Page(
        name=run.folder.name,
        record=record,
        research_use=RESEARCH_USE,
        figures=tuple(figure_rows(record, _undisputed(tested, ~disputed))),
        key_figures=_KEY_FIGURES,
        disputed=int(disputed.sum()),
        samples=samples.by_class(),
        mistakes=tuple(map(samples.of, worst[:_MISTAKES])),
        wrong=len(wrong),
        looks=samples.looks(),
        plots=draw(run, tested),
        confusion=confusion(tested),
        decisions=decision_counts(tested),
        patients=tuple(_patients(tested)),
        benchmark=tuple(benchmark_row(result, record) for result in benchmark),
        system=system,
        parts=PARTS,
        split={
            label: split_cells([row for row in rows if row.image.label == label])
            for label in record.labels
        },
        split_total=split_cells(rows),
        crossing=crossing_patients(rows),
    )


def _undisputed(tested: Tested, wanted: NDArray[np.bool_]) -> Evaluation | None:
    if wanted.all() or not wanted.any():
        return None
    return evaluate_tested(tested.only(wanted))


def _patients(tested: Tested) -> list[PatientRow]:
    if not any(tested.patients):
        return []
    return sorted(patient_rows(tested), key=lambda row: row.accuracy)


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
