"""What a benchmark's table, Markdown and page say in the same words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Final

from edgecell_export.recipes import RECIPES
from edgecell_runtime.bench.plan import Plan, Scenario, Stage, Target
from edgecell_runtime.bench.results import Benchmark, Estimate, Row
from edgecell_runtime.printable import printable_name
from edgecell_runtime.system import SystemInfo
from edgecell_runtime.wording import counted

SCENARIO_NAMES: Final[dict[Scenario, str]] = {
    "single_stream": "single stream",
    "offline": "offline",
    "paced": "paced",
    "cold": "cold",
}

TIMED: Final[dict[Stage, str]] = {
    "model": "preprocessed pixels to logits",
    "pipeline": "an image file's bytes to a label",
}

IMAGES: Final = {
    "held-out": "held-out images of the run",
    "known": "images that a model here was TRAINED ON: right answers are too good",
    "given": "the images given with --data",
    "drawn": "cells drawn by the program, no photographs",
    "golden": "patterns made by a formula, no photographs",
}

OLD_MARK: Final = " (old)"
"""Behind the name of what new artifacts are compared with."""

_SAID_FROM: Final = 60.0

_LOOSENED: Final = "its limits of parity were widened by hand"


@dataclass(frozen=True)
class Measured:
    """What was measured of one target: a line of a table.

    Attributes:
        number: Counted from 1.
        rows: One a scenario.
        marks: Letters of the remarks that concern it.
    """

    number: int
    rows: tuple[Row, ...]
    marks: str

    @property
    def first(self) -> Row:
        """For what all rows have in common."""
        return self.rows[0]

    def of(self, scenario: Scenario) -> Row | None:
        """The row of a scenario; None where it was not measured."""
        return next((row for row in self.rows if row.scenario == scenario), None)

    @property
    def timed(self) -> tuple[Row, ...]:
        """The rows with the latency of single queries."""
        return tuple(row for row in self.rows if row.scenario in ("single_stream", "paced"))


@dataclass(frozen=True)
class Remark:
    """A condition that disturbed some rows.

    Attributes:
        letter: That marks them.
        condition: Such as ``load``.
        seen: What was seen, each with its rows, such as ``#2 single stream, offline``.
    """

    letter: str
    condition: str
    seen: tuple[tuple[str, str], ...]

    def line(self, most: int = 3) -> str:
        """All in one line, with so many of what was seen; the JSON file has them all."""
        shown = "; ".join(f"{words} ({where})" for words, where in self.seen[:most])
        more = len(self.seen) - most
        return f"{self.condition}: {shown}" + (f"; and {more} more" if more > 0 else "")


def measured(benchmark: Benchmark) -> tuple[Measured, ...]:
    """The targets in the order of their first rows."""
    groups: dict[tuple[Target, str], list[Row]] = {}
    for row in benchmark.rows:
        groups.setdefault((row.target, row.stage), []).append(row)
    letters = {remark.condition: remark.letter for remark in remarks(benchmark)}
    return tuple(
        Measured(
            number, tuple(rows), "".join(sorted({letters[c] for r in rows for c, _ in _said(r)}))
        )
        for number, rows in enumerate(groups.values(), 1)
    )


def remarks(benchmark: Benchmark) -> tuple[Remark, ...]:
    """The flags of all rows, by condition."""
    numbers: dict[tuple[Target, str], int] = {}
    found: dict[str, dict[str, dict[int, list[str]]]] = {}
    for row in benchmark.rows:
        number = numbers.setdefault((row.target, row.stage), len(numbers) + 1)
        for condition, words in _said(row):
            where = found.setdefault(condition, {}).setdefault(words, {})
            where.setdefault(number, []).append(SCENARIO_NAMES[row.scenario])
    return tuple(
        Remark(letter, condition, tuple((words, _where(of)) for words, of in seen.items()))
        for letter, (condition, seen) in zip(ascii_lowercase, found.items(), strict=False)
    )


def _where(scenarios: dict[int, list[str]]) -> str:
    return "; ".join(f"#{n} {', '.join(dict.fromkeys(of))}" for n, of in scenarios.items())


def _said(row: Row) -> list[tuple[str, str]]:
    """What disturbed a row: conditions, of which there are fewer than letters, and words."""
    flags = [(flag.condition.replace("_", " "), flag.words) for flag in row.flags]
    return flags + ([("loosened", _LOOSENED)] if row.loosened else [])


def short_names(rows: Sequence[Row]) -> tuple[str, dict[str, str]]:
    """Names of one model's artifacts without the model's, such as ``malaria-cnn-``.

    Returns:
        What all begin with, empty where that is nothing; and the short names by the long ones.
    """
    names = list(dict.fromkeys(row.artifact for row in rows))
    shared = 0
    if len(names) > 1:
        for letters in zip(*names, strict=False):
            if len(set(letters)) > 1:
                break
            shared += 1
    shared = names[0].rfind("-", 0, shared) + 1 if names else 0
    if not all(name[shared:].startswith(tuple(RECIPES)) for name in names):
        shared = 0  # what is left would be no recipe, but a part of a model's name
    return (names[0][:shared] if names else ""), {name: name[shared:] for name in names}


def shown_names(benchmark: Benchmark) -> tuple[str, dict[str, str]]:
    """As ``short_names``, by what the targets call them, with a mark of those that count as old."""
    head, names = short_names(benchmark.rows)
    old = benchmark.comparison.old if benchmark.comparison else ()
    return printable_name(head), {
        row.target.artifact: printable_name(names[row.artifact])
        + (OLD_MARK if row.target.artifact in old else "")
        for row in benchmark.rows
    }


def not_measured(benchmark: Benchmark) -> list[str]:
    """What could not be measured, one line each, the reference kernel included."""
    lines = [
        printable_name(f"Not measured: {one.target.artifact}: {one.reason}")
        for one in benchmark.skipped
    ]
    if benchmark.reference_note:
        known = "was left out from there on" if benchmark.reference_ms else "was not measured"
        lines.append(
            f"The reference kernel {known}: {printable_name(benchmark.reference_note)} Results of "
            "other days cannot be set against rows without it."
        )
    return lines


def engine_name(row: Row) -> str:
    """Of the engine, without its version."""
    name, _, last = row.engine.rpartition(" ")
    return name if name and last[:1].isdigit() else row.engine


def engine_words(row: Row) -> str:
    """Engine and threads, such as ``litert, 2``; where fewer or more were seen to run, that too."""
    seen = f" ({row.threads_seen} seen)" if row.threads_seen not in (0, row.threads) else ""
    cpus = f" on CPU {','.join(map(str, row.target.cpus))}" if row.target.cpus else ""
    return f"{engine_name(row)}, {row.threads}{seen}{cpus}"


def digits(value: float | None, like: float | None = None) -> str:
    """A time or rate with three digits that count, and no more than four behind the point.

    Args:
        value: A dash where it is None.
        like: Whose digits it gets: an end of an interval has those of the middle.
    """
    if value is None:
        return "-"
    return format(value, f",.{_places(value if like is None else like)}f")


def figure_words(figure: Estimate) -> str:
    """With its interval in the digits of the value, ``0.743 (0.731-0.752)``, or ``0.743 (-)``."""
    if figure.low is None or figure.high is None:
        return f"{digits(figure.value)} (-)"
    low, high = (digits(end, figure.value) for end in (figure.low, figure.high))
    return f"{digits(figure.value)} ({low}-{high})"


def _places(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 2
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4)


def machine_words(system: SystemInfo) -> str:
    """The machine in one line."""
    memory = f", {system.memory_bytes / 1e9:,.0f} GB" if system.memory_bytes is not None else ""
    cpus = f"{system.allowed_cpus} of {counted(system.host_cpus, 'CPU')}"
    name = f"{system.distribution}, " if system.distribution else ""
    limit = f" (a quota of {system.cpu_limit:g})" if system.cpu_limit is not None else ""
    governors = f"; governor {', '.join(system.governors)}" if system.governors else ""
    return f"{system.processor}, {cpus}{limit}{memory}{governors}; {name}{system.os}"


def version_words(system: SystemInfo, rows: Sequence[Row] = ()) -> str:
    """The libraries in one line."""
    installed = [f"{name} {version}" for name, version in system.versions.items()]
    # An engine's name may be the end of its distribution's, as litert of ai-edge-litert.
    engines = [row.engine for row in rows if not any(one.endswith(row.engine) for one in installed)]
    commit = [f"commit {system.commit[:12]}"] if system.commit else []
    return ", ".join(dict.fromkeys([system.python, *installed, *engines, *commit]))


def date_words(time: str) -> str:
    """``2026-11-22 10:00 UTC`` of an ISO 8601 time in UTC."""
    day, _, clock = time.partition("T")
    return f"{day} {clock[:5]} UTC" if clock else time


def plan_words(benchmark: Benchmark) -> str:
    """How it was measured, in one line."""
    plan = benchmark.plan
    parts = [
        f"{TIMED[plan.stage]}; {IMAGES.get(benchmark.images, benchmark.images)}",
        f"at least {plan.min_queries:,} queries and {plan.min_seconds:g} s "
        f"each, at most {plan.max_seconds:g} s",
        f"by turns in random order, {counted(plan.processes, 'process')} each"
        if plan.processes == 1
        else f"by turns in random order, {plan.processes} processes each",
    ]
    return "; ".join(parts)


def scenario_words(plan: Plan) -> list[str]:
    """What each scenario is, in one line each."""
    words: dict[Scenario, str] = {
        "single_stream": "single stream: one query after another, a batch of one",
        "offline": "offline: all images there from the beginning, at the best batch of "
        + ", ".join(map(str, plan.batches)),
        "paced": f"paced: a query at each tick of {plan.rate_hz:g} Hz; between two, processors "
        "fall asleep",
        "cold": f"cold: {plan.cold_starts} new processes, each from its start to the first answer",
    }
    return [words[scenario] for scenario in plan.scenarios]


def paced_words(plan: Plan) -> str:
    """How long paced queries will take, where that is more than a minute; else nothing."""
    if "paced" not in plan.scenarios or plan.paced_seconds <= _SAID_FROM:
        return ""
    return (
        f"Paced queries will take {plan.paced_seconds:,.0f} s for each target: at least "
        f"{plan.min_queries:,} and {plan.min_seconds:g} s at {plan.rate_hz:g} Hz. A higher --rate "
        "or fewer --queries take less."
    )


def ratio_of(benchmark: Benchmark, row: Row) -> Estimate | None:
    """A row's time over that of the first row of its scenario; None where there is none."""
    index = next(i for i, one in enumerate(benchmark.rows) if one is row)
    return next((found.ratio for found in benchmark.ratios if found.row == index), None)


def fewest_queries(rows: Sequence[Row]) -> int | None:
    """Measured queries of the row that has the fewest; None without latencies."""
    return min((row.latency.count for row in rows if row.latency), default=None)
