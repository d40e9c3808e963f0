"""The report of a run: one HTML file for people, without anything to load from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell.report_compression import Compression, compression_of
from edgecell.report_pictures import Sample, heated, picture
from edgecell.report_plots import Plots, draw
from edgecell.report_rendering import render
from edgecell.report_tables import (
    BenchmarkRow,
    ConfusionCell,
    FigureRow,
    SplitCell,
    benchmark_rows,
    confusion,
    crossing_patients,
    decision_counts,
    figure_rows,
    split_cells,
)
from edgecell_export.card import RESEARCH_USE, rule_words
from edgecell_export.source import Answer
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.files import write_text
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.metrics import Counts
from edgecell_runtime.system import SystemInfo
from edgecell_train.caveats import chance_note, has_own_test_part, lone_images_note
from edgecell_train.cross_validation import read_result
from edgecell_train.explaining import explained
from edgecell_train.history import EpochRecord, averages_note, read_history
from edgecell_train.patient_table import PatientRow, patient_rows
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import HISTORY, Run
from edgecell_train.split import PARTS
from edgecell_train.statistics import Tested, evaluate_tested
from edgecell_train.tested_runs import by_lot, disputed_of, is_right, tested_of

_SAMPLES_PER_CLASS: Final = 8
_SAMPLES: Final = 32
_MISTAKES: Final = 8
_KEY_FIGURES: Final = 4
_MANY_LABELS: Final = 5


def render_report(
    run: Run,
    images: LabelledImages | None,
    benchmark: Benchmark | None = None,
) -> str:
    """Writes the report of a run as HTML; the same arguments give the same text.

    Args:
        run: The run.
        images: Its images; where there is none, or it is another file than the run knew, its place
            says so.
        benchmark: What its artifacts were measured to do, in a single stream.

    Raises:
        RunError: The run is damaged.
        MissingPartError: jinja2 is not installed.
    """
    return render("report.html.jinja", _page(run, images, benchmark))


def write_report(
    path: Path,
    run: Run,
    images: LabelledImages | None,
    benchmark: Benchmark | None = None,
) -> None:
    """Writes the report of a run to a file; see ``render_report``.

    Raises:
        RunError: The run is damaged.
        MissingPartError: jinja2 is not installed.
        StorageError: The file could not be written.
    """
    write_text(path, render_report(run, images, benchmark))


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    Attributes:
        name: Of the run.
        record: What it says of itself.
        research_use: What the software is not for.
        key_figures: The first few figures, which are shown large.
        figures: The others.
        chance: That the net does no better than chance; empty where it does.
        lone: What follows from images without a patient; empty where each has one.
        own_test_part: Whether the set brought its own test part along.
        rule: What chose the threshold, in words.
        at: The threshold, for the head of a column.
        many: Whether there are so many labels that each gets less room.
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
        compression: The search that the net came from; None where it is no compressed one.
        averages: What estimating BatchNormalization's averages anew did to the kept epoch.
        notes: The record's notes on the training that stand nowhere else on the page.
    """

    name: str
    record: RunRecord
    research_use: str
    key_figures: tuple[FigureRow, ...]
    figures: tuple[FigureRow, ...]
    chance: str
    lone: str
    own_test_part: bool
    rule: str
    at: str
    many: bool
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
    compression: Compression | None
    averages: str
    notes: tuple[str, ...]


class _Samples:
    """Makes samples of a run's test images."""

    def __init__(self, run: Run, tested: Tested, images: LabelledImages | None) -> None:
        self._record, self._images = run.record, images
        self.answers = run.tested_answers()
        names = [answer.image.name for answer in self.answers]
        self._patients = dict(zip(names, tested.patients, strict=True))
        self._heat = {one.name: one.heat for one in explained(run)}
        self._disputed = disputed_of(run)

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
            disputed=known.name in self._disputed,
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
    benchmark: Benchmark | None,
) -> Page:
    record, rows, tested = run.record, run.split(), tested_of(run)
    samples = _Samples(run, tested, images)
    wrong = [answer for answer in samples.answers if not is_right(answer, record)]
    worst = sorted(wrong, key=lambda answer: (-max(answer.probabilities), answer.image.name))
    names = disputed_of(run)
    disputed = np.array([answer.image.name in names for answer in samples.answers])
    without = _undisputed(run, tested, ~disputed)
    figures = tuple(figure_rows(record, without))
    if run.is_refit and without is None:  # its figures are the folds', which knew of no disputes
        disputed[:] = False
    history = read_history(run.folder / HISTORY)
    chance, averages = chance_note(record.evaluation, tested), _averages(history, record)
    own_test_part, crossing = has_own_test_part(rows), crossing_patients(rows)
    return Page(
        name=run.folder.name,
        record=record,
        research_use=RESEARCH_USE,
        key_figures=figures[:_KEY_FIGURES],
        figures=figures[_KEY_FIGURES:],
        chance=chance,
        lone=lone_images_note(record.data, own_test_part),
        own_test_part=own_test_part,
        rule=rule_words(record.threshold_rule, record.decided_on),
        at=f"at {record.threshold:.3g}",
        many=len(record.labels) >= _MANY_LABELS,
        disputed=int(disputed.sum()),
        samples=samples.by_class(),
        mistakes=tuple(map(samples.of, worst[:_MISTAKES])),
        wrong=len(wrong),
        looks=samples.looks(),
        plots=draw(run, tested, history),
        confusion=confusion(tested),
        decisions=decision_counts(tested),
        patients=tuple(_patients(tested)),
        benchmark=benchmark_rows(benchmark, record),
        system=None if benchmark is None else benchmark.system,
        parts=PARTS,
        split={
            label: split_cells([row for row in rows if row.image.label == label])
            for label in record.labels
        },
        split_total=split_cells(rows),
        crossing=crossing,
        compression=compression_of(run),
        averages=averages,
        notes=tuple(note for note in record.training_notes if note not in (chance, averages)),
    )


def _averages(history: Sequence[EpochRecord], record: RunRecord) -> str:
    kept = [epoch for epoch in history if epoch.epoch == record.kept_epoch]
    return averages_note(kept[0]) if kept else ""


def _undisputed(run: Run, tested: Tested, wanted: NDArray[np.bool_]) -> Evaluation | None:
    if run.is_refit:
        return read_result(run.folder).undisputed
    if wanted.all() or not wanted.any():
        return None
    return evaluate_tested(tested.only(wanted))


def _patients(tested: Tested) -> list[PatientRow]:
    if not any(tested.patients):
        return []
    return sorted(patient_rows(tested), key=lambda row: row.accuracy)
