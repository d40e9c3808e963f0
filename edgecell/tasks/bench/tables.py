"""A benchmark as tables for a terminal: time, what else it costs, right answers."""

from collections.abc import Callable, Sequence
from typing import Final

from edgecell.console import Table
from edgecell.tasks.bench.words import (
    SCENARIO_NAMES,
    TIMED,
    Measured,
    date_words,
    digits,
    engine_words,
    figure_words,
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
from edgecell_runtime.bench.results import Benchmark, Row
from edgecell_runtime.manifest import Figure
from edgecell_runtime.wording import counted

INTERVAL: Final = (
    "Ranges: 95 % intervals, of times over the rounds of this run, of accuracy over patients; a "
    "dash where there were too few rounds for one. Ratios of times: of their 10th percentiles, "
    "which other load disturbs least. "
    "p90 and p99 are times of queries that ran; no outlier is left out. Peak: of a process that "
    "does nothing else. Accuracy: of the very answers that were timed; changed: labels that differ "
    "from the source model's. 1 MB is 1,000,000 bytes."
)

_TITLES: Final = {
    "time / #1": "against the first",
    "images/s": "throughput",
    "cold ms": "cold start",
    "mJ": "energy",
    "peak MB": "memory",
    "MB": "file size",
    "accuracy": "right answers",
    "sensitivity": "right answers",
    "changed": "right answers",
}
"""What a column is about, for the title of its table."""

_Column = tuple[str, Callable[[Measured], str]]


def tables(benchmark: Benchmark) -> list[Table]:
    """The result for people; columns in which no row has anything are left out."""
    lines = measured(benchmark)
    head, names = shown_names(benchmark)
    about = f" of {head.rstrip('-')}" if head else ""
    return [
        table
        for table in (
            _times(benchmark, lines, names, about),
            _costs(benchmark, lines, names),
            _sizes(lines, names),
        )
        if table is not None
    ]


def notes(benchmark: Benchmark) -> list[str]:
    """What stands below the tables, one line each: flags, skipped, method, machine."""
    lines = [f"[{one.letter}] {one.line()}" for one in remarks(benchmark)]
    lines += not_measured(benchmark)
    lines.append(f"Timed: {plan_words(benchmark)}. {'; '.join(scenario_words(benchmark.plan))}.")
    lines.append(INTERVAL)
    lines.append(f"Energy: {benchmark.energy_note}.")
    lines.append(
        f"{date_words(benchmark.time)}, {machine_words(benchmark.system)}; "
        f"{version_words(benchmark.system, benchmark.rows)}"
    )
    return lines


def _times(
    benchmark: Benchmark, lines: Sequence[Measured], names: dict[str, str], about: str
) -> Table | None:
    timed = [(line, row) for line in lines for row in line.timed]
    if not timed:
        return None
    paced = any(row.scenario == "paced" for _, row in timed)
    columns = ["#", "artifact", "engine, threads"]
    columns += ["scenario"] if paced else []
    columns += ["median ms", "p90", "p99", "accuracy"]
    rows = []
    for line, row in timed:
        latency = row.latency
        cells = [_number(line), names[row.target.artifact], engine_words(row)]
        cells += [SCENARIO_NAMES[row.scenario]] if paced else []
        cells += [
            "-" if latency is None else figure_words(latency.median_ms),
            digits(latency.p90_ms if latency else None),
            digits(latency.p99_ms if latency else None),
            _accuracy(row),
        ]
        rows.append(tuple(cells))
    title = f"Latency{about}, {TIMED[benchmark.plan.stage]}"
    return Table(title, tuple(columns), rows)


def _costs(benchmark: Benchmark, lines: Sequence[Measured], names: dict[str, str]) -> Table | None:
    def against_first(line: Measured) -> str:
        for row in line.rows:
            ratio = ratio_of(benchmark, row)
            if ratio is not None:
                return figure_words(ratio)
        return "1" if line.number == 1 else "-"

    columns: list[_Column] = [
        ("#", _number),
        ("artifact", lambda line: names[line.first.target.artifact]),
        ("time / #1", against_first),
        ("images/s", lambda line: _rate(line.of("offline"))),
        ("cold ms", lambda line: _cold(line.of("cold"))),
        ("mJ", _energy),
    ]
    return _table("", columns, lines)


def _sizes(lines: Sequence[Measured], names: dict[str, str]) -> Table | None:
    images = {row.evaluation.n for line in lines for row in line.rows if row.evaluation}
    fewest = f"{min(images):,} to " if len(images) > 1 else ""
    about = f" (on {fewest}{counted(max(images), 'image')})" if images else ""
    columns: list[_Column] = [
        ("#", lambda line: str(line.number)),
        ("artifact", lambda line: names[line.first.target.artifact]),
        ("peak MB", lambda line: _megabytes(line.first.peak_memory_bytes, 0)),
        ("MB", lambda line: _megabytes(line.first.size_bytes, 2)),
        ("accuracy", lambda line: _figure(line, "accuracy")),
        ("sensitivity", lambda line: _figure(line, "sensitivity")),
        ("changed", _changed),
    ]
    return _table(about, columns, lines)


def _table(about: str, columns: Sequence[_Column], lines: Sequence[Measured]) -> Table | None:
    """The columns that have something, under a title of what they are; None without any."""
    cells = {name: [cell(line) for line in lines] for name, cell in columns}
    kept = {name: found for name, found in cells.items() if not set(found) <= {"-", ""}}
    if len(lines) == 1 and "time / #1" in kept:
        del kept["time / #1"]  # the one and only is the first
    words = list(dict.fromkeys(_TITLES[name] for name in kept if name in _TITLES))
    if not words:
        return None
    title = f"{', '.join(words)}{about}"
    title = title[0].upper() + title[1:]
    return Table(title, tuple(kept), list(zip(*kept.values(), strict=True)))


def _number(line: Measured) -> str:
    return f"{line.number} [{line.marks}]" if line.marks else str(line.number)


def _rate(row: Row | None) -> str:
    if row is None or row.images_per_second is None:
        return "-"
    rate = row.images_per_second
    low, high = rate.low, rate.high
    ends = "-" if low is None or high is None else f"{low:,.0f}-{high:,.0f}"
    best = max(row.batches, key=lambda batch: batch.images_per_second, default=None)
    size = f" at {best.batch}" if best else ""
    return f"{rate.value:,.0f} ({ends}){size}"


def _cold(row: Row | None) -> str:
    return "-" if row is None or row.cold is None else figure_words(row.cold.total_ms)


def _megabytes(size: int | None, places: int) -> str:
    return "-" if size is None else f"{size / 1e6:,.{places}f}"


def _energy(line: Measured) -> str:
    found = next((row.energy for row in line.rows if row.energy), None)
    return "-" if found is None else digits(found.millijoules)


def _accuracy(row: Row) -> str:
    return "-" if row.evaluation is None else f"{row.evaluation.accuracy.value:.3f}"


def _figure(line: Measured, name: str) -> str:
    found = next((row.evaluation for row in line.rows if row.evaluation), None)
    figure: Figure | None = getattr(found, name) if found else None
    if figure is None:
        return "-"
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def _changed(line: Measured) -> str:
    shares = (row.changed_labels for row in line.rows)
    found = next((share for share in shares if share is not None), None)
    return "-" if found is None else f"{found:.2%}"
