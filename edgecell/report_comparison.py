"""Runs side by side: one HTML file for people, without anything to load from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell.report_pictures import png_data_uri
from edgecell.report_rendering import render
from edgecell.tasks.comparing import METHOD, figure_name, p_text
from edgecell_export.card import AT_THRESHOLD, RESEARCH_USE, figures, rule_words
from edgecell_runtime.codec import Scalar
from edgecell_runtime.files import write_text
from edgecell_runtime.manifest import Figure
from edgecell_train import plots
from edgecell_train.comparing import ComparedRun, Comparison, Difference
from edgecell_train.history import EpochRecord, read_history
from edgecell_train.runs import HISTORY, Run

_UNSET: Final = "-"


@dataclass(frozen=True)
class FigureCells:
    """A figure of all runs.

    Attributes:
        name: Of the figure.
        decision: Which decision it is of; empty where it is of none.
        cells: One a run; None where a run has no such figure.
    """

    name: str
    decision: str
    cells: tuple[Figure | None, ...]


@dataclass(frozen=True)
class DifferenceRow:
    """How far a figure of a run is from the first run's.

    Attributes:
        name: Of the figure.
        difference: And its interval.
        p: The p-value in words.
        clear: Whether the interval leaves 0 out.
    """

    name: str
    difference: Difference
    p: str
    clear: bool


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    Attributes:
        comparison: The runs, as they were compared.
        research_use: What the software is not for.
        drawn: Whether all cells were drawn by the program.
        method: How intervals and p-values were found.
        curves: Validation loss and accuracy of all runs; None where none has a history.
        cured: Whether a run has the validation before its averages were estimated anew.
        without_history: Names of the runs without curves.
        options: Those in which the runs differ, by name: one value a run.
        epochs: One a run: the kept epoch, and of how many.
        rules: One a run: what chose its threshold, in words; empty without a positive label.
        figures: Side by side.
        differences: By the run's name, all but the first.
    """

    comparison: Comparison
    research_use: str
    drawn: bool
    method: str
    curves: str | None
    cured: bool
    without_history: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    epochs: tuple[str, ...]
    rules: tuple[str, ...]
    figures: tuple[FigureCells, ...]
    differences: Mapping[str, tuple[DifferenceRow, ...]]


def render_comparison(comparison: Comparison, runs: Sequence[Run]) -> str:
    """Writes a comparison as HTML; the same arguments give the same text.

    Args:
        comparison: What was compared.
        runs: The runs, in the same order.

    Raises:
        RunError: A run's history is damaged.
        MissingPartError: jinja2 is not installed.
    """
    return render("comparison.html.jinja", _page(comparison, runs))


def write_comparison(path: Path, comparison: Comparison, runs: Sequence[Run]) -> None:
    """Writes a comparison to a file; see ``render_comparison``.

    Raises:
        RunError: A run's history is damaged.
        MissingPartError: jinja2 is not installed.
        StorageError: The file could not be written.
    """
    write_text(path, render_comparison(comparison, runs))


def _page(comparison: Comparison, runs: Sequence[Run]) -> Page:
    compared = comparison.runs
    read = [read_history(run.folder / HISTORY) for run in runs]
    known = {
        one.name: found
        for one, found in zip(compared, read, strict=True)
        if any(epoch.validation_loss is not None for epoch in found)
    }
    return Page(
        comparison=comparison,
        research_use=RESEARCH_USE,
        drawn=any(run.record.data.drawn for run in runs),
        method=METHOD,
        curves=png_data_uri(plots.validations(known)) if known else None,
        cured=any(plots.has_before(found) for found in known.values()),
        without_history=tuple(one.name for one in compared if one.name not in known),
        options=_options([one.preset for one in compared], [r.record.configuration for r in runs]),
        epochs=tuple(map(_epochs, runs, read)),
        rules=tuple(map(_rule, runs)),
        figures=_figures(compared),
        differences={one.name: tuple(map(_difference, one.differences)) for one in compared[1:]},
    )


def _options(
    presets: Sequence[str], configurations: Sequence[Mapping[str, Scalar]]
) -> dict[str, tuple[str, ...]]:
    """What the runs were trained with, where they differ."""
    names = dict.fromkeys(name for one in configurations for name in one if name != "preset")
    found = {
        name: tuple(str(one.get(name, _UNSET)) for one in configurations) for name in sorted(names)
    }
    every = {"preset": tuple(presets), **found}
    return {name: values for name, values in every.items() if len(set(values)) > 1}


def _epochs(run: Run, history: Sequence[EpochRecord]) -> str:
    kept = run.record.kept_epoch
    return f"{kept} of {len(history)}" if kept and history else str(kept or _UNSET)


def _rule(run: Run) -> str:
    record = run.record
    if record.positive_label is None:
        return ""
    return rule_words(record.threshold_rule, record.decided_on)


def _figures(runs: Sequence[ComparedRun]) -> tuple[FigureCells, ...]:
    found = [dict(figures(run.evaluation)) for run in runs]
    names = dict.fromkeys(name for of in found for name in of)
    return tuple(
        FigureCells(name, _decision(name), tuple(of.get(name) for of in found)) for name in names
    )


def _decision(name: str) -> str:
    if name in ("accuracy", "macro F1"):
        return "likeliest label"
    return "at the threshold" if name in AT_THRESHOLD else ""


def _difference(one: Difference) -> DifferenceRow:
    p = _UNSET if one.p is None else p_text(one.p)
    return DifferenceRow(figure_name(one.figure), one, p, one.low > 0 or one.high < 0)
