"""A comparison of two benchmarks, for people and for machines."""

from collections import Counter
from typing import Final

from edgecell.console import Table
from edgecell.tasks.bench.comparing import SPREAD, limit
from edgecell.tasks.bench.words import SCENARIO_NAMES
from edgecell_runtime.bench.latency import FEWEST
from edgecell_runtime.bench.results import ComparedRow, Comparison, Estimate
from edgecell_runtime.printable import printable_name
from edgecell_runtime.wording import counted

_HOW: Final = {
    "interleaved": "new time over old time, measured by turns in one run",
    "reference": "new time over old time, each relative to the reference kernel of its own run",
}


def table(comparison: Comparison) -> Table:
    """The result for people, one line a row."""
    rows = [
        (
            printable_name(row.artifact),
            f"{row.engine}, {row.threads}",
            SCENARIO_NAMES[row.scenario],
            ratio_words(row.ratio),
            verdict_words(row, comparison),
        )
        for row in comparison.rows
    ]
    columns = ("artifact", "engine, threads", "scenario", "new / old", "verdict")
    return Table(summary(comparison), columns, rows)


def ratio_words(ratio: Estimate) -> str:
    """A ratio with its interval, or a dash where there is none."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f} (-)"
    return f"{ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"


def verdict_words(row: ComparedRow, comparison: Comparison) -> str:
    """The verdict, with what it does not say."""
    words: str = row.verdict
    if row.failing and comparison.fail_above > 1:
        words += f", above {comparison.fail_above:g}"
    elif row.verdict == "undecided":
        words += ": too few blocks for an interval"
    elif row.undecided:
        words += f"; {limit(comparison):g} not ruled out"
    return f"{words} [flagged]" if row.flags else words


def summary(comparison: Comparison) -> str:
    """How many rows are slower, faster and neither."""
    found = Counter(row.verdict for row in comparison.rows)
    known = f"{found['slower']} slower, {found['faster']} faster, {found['neither']} neither"
    return f"{known}, {found['undecided']} undecided" if found["undecided"] else known


def notes(comparison: Comparison) -> list[str]:
    """What stands below the table, one line each; flags where they may have made the verdict."""
    lines = [*comparison.notes]
    lines += [
        f"{printable_name(row.artifact)}, {counted(row.threads, 'thread')}, "
        f"{SCENARIO_NAMES[row.scenario]}: {'; '.join(row.flags)}"
        for row in comparison.rows
        if row.flags and row.verdict != "neither"
    ]
    lines += [f"Not compared: {one.row}: {one.reason}." for one in comparison.unmatched]
    unknown = sum(row.verdict == "undecided" for row in comparison.rows)
    if unknown:
        lines.append(
            f"{counted(unknown, 'row')} without an interval: a side has fewer than {FEWEST} "
            "blocks; measure longer (--seconds, --queries) to know."
        )
    unsure = sum(row.undecided for row in comparison.rows) - unknown
    if unsure:
        lines.append(
            f"{counted(unsure, 'interval')} {'reaches' if unsure == 1 else 'reach'} above "
            f"{limit(comparison):g}: measure longer, or both side by side in one run, to know."
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
