"""A comparison of two benchmarks, for people and for machines."""

from collections import Counter
from typing import Final

from edgecell.console import Table
from edgecell.tasks.bench_comparing import SPREAD, ComparedRow, Comparison
from edgecell.tasks.bench_words import SCENARIO_NAMES
from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.wording import counted

_HOW: Final = {
    "interleaved": "new time over old time, measured by turns in one run",
    "reference": "new time over old time, each relative to the reference kernel of its own run",
}


def document(comparison: Comparison) -> Json:
    """The result for machines."""
    encoded = codec.encode(comparison)
    assert isinstance(encoded, dict)
    return {**encoded, "method_words": method_words(comparison), "failed": _failed(comparison)}


def table(comparison: Comparison) -> Table:
    """The result for people, one line a row."""
    rows = [
        (
            row.artifact,
            f"{row.engine}, {row.threads}",
            SCENARIO_NAMES[row.scenario],
            f"{row.ratio.value:.3f} ({row.ratio.low:.3f}-{row.ratio.high:.3f})",
            verdict_words(row, comparison),
        )
        for row in comparison.rows
    ]
    columns = ("artifact", "engine, threads", "scenario", "new / old", "verdict")
    return Table(summary(comparison), columns, rows)


def verdict_words(row: ComparedRow, comparison: Comparison) -> str:
    """The verdict, with what it does not say."""
    words: str = row.verdict
    if row.failing and comparison.fail_above > 1:
        words += f", above {comparison.fail_above:g}"
    elif row.undecided:
        words += f"; {comparison.limit:g} not ruled out"
    return f"{words} [flagged]" if row.flags else words


def summary(comparison: Comparison) -> str:
    """How many rows are slower, faster and neither."""
    found = Counter(row.verdict for row in comparison.rows)
    return f"{found['slower']} slower, {found['faster']} faster, {found['neither']} neither"


def notes(comparison: Comparison) -> list[str]:
    """What stands below the table, one line each; flags where they may have made the verdict."""
    lines = [*comparison.notes]
    lines += [
        f"{row.artifact}, {counted(row.threads, 'thread')}, {SCENARIO_NAMES[row.scenario]}: "
        f"{'; '.join(row.flags)}"
        for row in comparison.rows
        if row.flags and row.verdict != "neither"
    ]
    lines += [f"Not compared: {one.row}: {one.reason}." for one in comparison.unmatched]
    unsure = sum(row.undecided for row in comparison.rows)
    if unsure:
        lines.append(
            f"{counted(unsure, 'interval')} {'reaches' if unsure == 1 else 'reach'} above "
            f"{comparison.limit:g}: measure longer, or both side by side in one run, to know."
        )
    lines.append(method_words(comparison))
    failed = _failed(comparison)
    if failed:
        lines.append(f"Failed: {counted(failed, 'row')} {_allowed(comparison)}.")
    return lines


def method_words(comparison: Comparison) -> str:
    """How the intervals were found, and what a verdict means."""
    spread = (
        f"{SPREAD.process:.0%} between processes"
        if comparison.method == "interleaved"
        else "2 to 4 % between runs, by scenario"
    )
    return (
        f"Ratios: {_HOW[comparison.method]}. Intervals: {comparison.confidence:.0%} for all rows "
        f"together (Bonferroni), from the runs' own intervals and a standard deviation of {spread}."
        " Slower and faster: the interval leaves 1 out."
    )


def _allowed(comparison: Comparison) -> str:
    if comparison.fail_above == 1:
        return "slower"
    return f"slower, and more than {comparison.fail_above:g} times as slow"


def _failed(comparison: Comparison) -> int:
    return sum(row.failing for row in comparison.rows)
