"""A benchmark as one HTML file for people, without anything to load from elsewhere."""

from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edgecell.console import Table
from edgecell.report_pictures import png_data_uri
from edgecell.report_rendering import render
from edgecell.tasks.bench import comparing_tables
from edgecell.tasks.bench.tables import INTERVAL
from edgecell.tasks.bench.words import (
    Measured,
    Remark,
    date_words,
    digits,
    engine_words,
    machine_words,
    measured,
    not_measured,
    plan_words,
    ratio_of,
    remarks,
    scenario_words,
    shown_names,
    version_words,
)
from edgecell_export.card import RESEARCH_USE, figures
from edgecell_runtime.bench.results import Benchmark, Estimate, Row
from edgecell_runtime.errors import MissingPartError
from edgecell_runtime.files import write_text
from edgecell_runtime.manifest import Figure
from edgecell_runtime.printable import printable_name
from edgecell_train import benchmark_plots
from edgecell_train.benchmark_plots import NamedLatency, Place, ThreadLatency

_MOST_DISTRIBUTIONS: Final = 24
"""More in one plot could not be told apart; the table has them all."""


@dataclass(frozen=True)
class Line:
    """A target in the tables.

    Attributes:
        measured: Its rows.
        name: Its artifact, without what all begin with.
        engine: With the number of threads.
        timed: Its first row with the latency of single queries; None where there is none.
        offline: Its row of that scenario; None where there is none.
        best_batch: Of ``offline``; None likewise.
        cold: Its row of that scenario; None where there is none.
        paced: Its row of that scenario, where ``timed`` is another; None likewise.
        ratio: Its time over that of the first row; None for the first.
        answers: Its row with an evaluation; None where there is none.
        figures: Of the evaluation, by name.
    """

    measured: Measured
    name: str
    engine: str
    timed: Row | None
    offline: Row | None
    best_batch: int | None
    cold: Row | None
    paced: Row | None
    ratio: Estimate | None
    answers: Row | None
    figures: dict[str, Figure]

    @property
    def first(self) -> Row:
        """For what all rows of the target have in common."""
        return self.measured.first


@dataclass(frozen=True)
class Plots:
    """``data:`` URIs; None where there is nothing to draw."""

    latencies: str | None
    threads: str | None
    batches: str | None
    frontier: str | None


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    benchmark: Benchmark
    title: str
    date: str
    machine: str
    versions: str
    plan: str
    scenarios: tuple[str, ...]
    interval: str
    research_use: str
    lines: tuple[Line, ...]
    figure_names: tuple[str, ...]
    remarks: tuple[Remark, ...]
    not_measured: tuple[str, ...]
    comparison: Table | None
    comparison_notes: tuple[str, ...]
    plots: Plots
    left_out: int

    def digits(self, value: float | None, like: float | None = None) -> str:
        """As in the terminal's table."""
        return digits(value, like)


def require_libraries() -> None:
    """Refuses a page that could not be written, before anything is measured.

    Raises:
        MissingPartError: jinja2 or matplotlib is not installed.
    """
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise MissingPartError(
            f"A benchmark's page needs {missing[0]}: pip install 'edgecell[train]' "
            "(Python 3.11 to 3.13)."
        )


def render_benchmark(benchmark: Benchmark) -> str:
    """Writes a result as HTML; the same result gives the same text.

    Raises:
        MissingPartError: jinja2 or matplotlib is not installed.
    """
    return render("benchmark.html.jinja", _page(benchmark))


def write_benchmark(path: Path, benchmark: Benchmark) -> None:
    """Writes a result to an HTML file.

    Raises:
        MissingPartError: jinja2 or matplotlib is not installed.
        StorageError: The file could not be written.
    """
    write_text(path, render_benchmark(benchmark))


def _page(benchmark: Benchmark) -> Page:
    head, names = shown_names(benchmark)
    lines = tuple(_line(benchmark, one, names) for one in measured(benchmark))
    found = dict.fromkeys(name for line in lines for name in line.figures)
    artifacts = list(dict.fromkeys(printable_name(row.artifact) for row in benchmark.rows))
    timed = [line for line in lines if line.timed and line.timed.latency]
    comparison = benchmark.comparison
    return Page(
        benchmark=benchmark,
        title=artifacts[0] if len(artifacts) == 1 else head.rstrip("-") or "Artifacts",
        date=date_words(benchmark.time),
        machine=machine_words(benchmark.system),
        versions=version_words(benchmark.system, benchmark.rows),
        plan=plan_words(benchmark),
        scenarios=tuple(scenario_words(benchmark.plan)),
        interval=INTERVAL,
        research_use=RESEARCH_USE,
        lines=lines,
        figure_names=tuple(found),
        remarks=remarks(benchmark),
        not_measured=tuple(not_measured(benchmark)),
        comparison=None if comparison is None else comparing_tables.table(comparison),
        comparison_notes=() if comparison is None else tuple(comparing_tables.notes(comparison)),
        plots=_draw(lines),
        left_out=max(len(timed) - _MOST_DISTRIBUTIONS, 0),
    )


def _line(benchmark: Benchmark, one: Measured, names: dict[str, str]) -> Line:
    offline = one.of("offline")
    timed = one.timed[0] if one.timed else None
    batches = offline.batches if offline else ()
    best = max(batches, key=lambda batch: batch.images_per_second, default=None)
    answers = next((row for row in one.rows if row.evaluation), None)
    ratios = (ratio_of(benchmark, row) for row in one.rows)
    return Line(
        measured=one,
        name=names[one.first.target.artifact],
        engine=engine_words(one.first),
        timed=timed,
        offline=offline,
        best_batch=best.batch if best else None,
        cold=one.of("cold"),
        paced=one.timed[1] if len(one.timed) > 1 else None,
        ratio=next((ratio for ratio in ratios if ratio), None),
        answers=answers,
        figures=dict(figures(answers.evaluation)) if answers and answers.evaluation else {},
    )


def _draw(lines: tuple[Line, ...]) -> Plots:
    require_libraries()
    return Plots(_latencies(lines), _threads(lines), _batches(lines), _frontier(lines))


def _named(line: Line) -> str:
    return f"#{line.measured.number} {line.name} ({line.engine})"


def _latencies(lines: tuple[Line, ...]) -> str | None:
    found = [
        NamedLatency(f"#{line.measured.number} {line.name}\n{line.engine}", line.timed.latency)
        for line in lines
        if line.timed and line.timed.latency
    ]
    shown = found[:_MOST_DISTRIBUTIONS]
    return png_data_uri(benchmark_plots.latencies(shown)) if shown else None


def _threads(lines: tuple[Line, ...]) -> str | None:
    found = defaultdict(list)
    for line in lines:
        if line.timed and line.timed.latency:
            name = f"{line.name} ({line.engine.partition(',')[0]})"
            found[name].append(ThreadLatency(line.timed.threads, line.timed.latency.median_ms))
    swept = {name: rows for name, rows in found.items() if len({row.threads for row in rows}) > 1}
    return png_data_uri(benchmark_plots.threads(swept)) if swept else None


def _batches(lines: tuple[Line, ...]) -> str | None:
    found = {
        _named(line): line.offline.batches
        for line in lines
        if line.offline and len(line.offline.batches) > 1
    }
    return png_data_uri(benchmark_plots.batches(found)) if found else None


def _frontier(lines: tuple[Line, ...]) -> str | None:
    """Each artifact on each engine with its fastest number of threads."""
    best: dict[tuple[str, str], Place] = {}
    for line in lines:
        if line.timed is None or line.timed.latency is None:
            continue
        key = (line.first.target.artifact, line.first.engine)
        median = line.timed.latency.median_ms
        if key not in best or median.value < best[key].median_ms.value:
            accuracy = line.figures.get("accuracy")
            best[key] = Place(_named(line), line.first.size_bytes, median, accuracy)
    return png_data_uri(benchmark_plots.frontier(list(best.values()))) if len(best) > 1 else None
