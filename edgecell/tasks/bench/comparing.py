"""Whether artifacts became slower: two results, row by row, by interval and not by eye.

A row's interval in a result covers the spread within that run. It is too narrow for a comparison: a
process keeps the pages and the alignment that it happened to get, few processes say little of all,
and a machine has days. So each side's variance of the logarithm gets ``Spread`` squared added, and
the intervals hold 95 % for all rows together (Bonferroni): unless the machine spreads more than
that, at most one of twenty unchanged comparisons finds a change in any row.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final, Literal

from edgecell.tasks.bench.matching import Pair, different, match, unmatched_of
from edgecell_runtime.bench.plan import Scenario
from edgecell_runtime.bench.results import (
    Benchmark,
    ComparedRow,
    Comparison,
    Estimate,
    Row,
    Unmatched,
    Verdict,
)
from edgecell_runtime.errors import UsageError

_CONFIDENCE: Final = 0.95
_STORED_CONFIDENCE: Final = 0.95
"""Of the intervals in a result."""

_RELEVANT: Final = 1.1
"""Where every slower row fails, an interval up to here is still called narrow enough."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a logarithm that a run's own interval does not cover.

    Attributes:
        process: Of a row's median between processes of one interleaved run.
        run: Of a row's time relative to the reference kernel, between runs on a machine, by
            scenario. A start touches the file system and all of the memory, which the kernel does
            not; a paced query depends on how deep the processor slept.
    """

    process: float = 0.01
    run: Mapping[Scenario, float] = field(
        default_factory=lambda: {
            "single_stream": 0.02,
            "offline": 0.02,
            "paced": 0.04,
            "cold": 0.04,
        }
    )


SPREAD: Final = Spread()


def limit(comparison: Comparison) -> float:
    """An interval of a row that does not fail should not reach above this."""
    return max(comparison.fail_above, _RELEVANT)


def exit_status(comparison: Comparison) -> int:
    """1 where a row fails, else 0."""
    return int(any(row.failing for row in comparison.rows))


def compare(
    old: Benchmark, new: Benchmark, fail_above: float = 1.0, spread: Spread = SPREAD
) -> Comparison:
    """Compares a result with that of another day, each relative to its reference kernel.

    Args:
        old: What was.
        new: What is.
        fail_above: A row fails that is slower and whose ratio is above this; at 1 each slower one.
        spread: See there.

    Raises:
        UsageError: ``fail_above`` is below 1, or no row of the two can be compared.
    """
    check_allowed(fail_above)
    pairs, unmatched = match(rows_to_compare(old), new.rows)
    ratios, missing = [], []
    for pair in pairs:
        before, after = pair.old.relative, pair.new.relative
        if before and after and _usable(before) and _usable(after):
            between_runs = spread.run[pair.new.scenario]
            ratios.append((pair, _quotient(after, before, between_runs)))
        else:
            missing.append(unmatched_of(pair.new, _without_reference(old, new, pair)))
    notes = tuple(different(old, new, [pair for pair, _ in ratios]))
    made = _Made("reference", (), new.rows, (*missing, *unmatched), notes)
    return _comparison(made, ratios, fail_above)


def rows_to_compare(old: Benchmark) -> tuple[Row, ...]:
    """The rows of a result that later ones are set against: not those that were old in it."""
    before = old.comparison.old if old.comparison else ()
    return tuple(row for row in old.rows if row.target.artifact not in before)


def _without_reference(old: Benchmark, new: Benchmark, pair: Pair) -> str:
    """Why two rows cannot be set against each other; what became of the kernel comes first."""
    side, of = ("new", new) if pair.old.relative else ("old", old)
    words = f"the {side} result has no time of the reference kernel beside it"
    return f"{words}: {of.reference_note.rstrip('.')}" if of.reference_note else words


def compare_interleaved(
    benchmark: Benchmark,
    old: Collection[str],
    fail_above: float = 1.0,
    spread: Spread = SPREAD,
) -> Comparison:
    """Compares artifacts that were measured by turns in one run.

    A new row is set against the old one by the run's own ratio where it has that of the two, else
    by the quotient of their ratios to the first row.

    Args:
        benchmark: The run.
        old: The artifacts that count as old, as their targets name them; the others are new.
        fail_above: See ``compare``.
        spread: Likewise.

    Raises:
        UsageError: ``fail_above`` is below 1, or no row of the two can be compared.
    """
    check_allowed(fail_above)
    olds = [row for row in benchmark.rows if row.target.artifact in old]
    news = [row for row in benchmark.rows if row.target.artifact not in old]
    pairs, unmatched = match(olds, news)
    ratios, missing = [], []
    for pair in pairs:
        ratio = _interleaved(benchmark, pair, spread.process)
        if ratio is None:
            missing.append(unmatched_of(pair.new, "the run has no ratio of the two"))
        else:
            ratios.append((pair, ratio))
    notes = tuple(different(benchmark, benchmark, [pair for pair, _ in ratios]))
    made = _Made("interleaved", tuple(old), benchmark.rows, (*unmatched, *missing), notes)
    return _comparison(made, ratios, fail_above)


@dataclass(frozen=True)
class _Ratio:
    """The logarithm of a ratio, and its standard deviation; None where a side has no interval."""

    logarithm: float
    deviation: float | None


@dataclass(frozen=True)
class _Made:
    """What a comparison has besides its rows; ``news`` are the result's rows."""

    method: Literal["interleaved", "reference"]
    old: tuple[str, ...]
    news: tuple[Row, ...]
    unmatched: tuple[Unmatched, ...]
    notes: tuple[str, ...]


def _interleaved(benchmark: Benchmark, pair: Pair, spread: float) -> _Ratio | None:
    index = {id(row): i for i, row in enumerate(benchmark.rows)}
    old, new = index[id(pair.old)], index[id(pair.new)]
    ratios = {(ratio.row, ratio.base): ratio.ratio for ratio in benchmark.ratios}
    one = Estimate(1.0, 1.0, 1.0)
    bases = [old, *(base for row, base in ratios if row == new)]
    for base in bases:
        above = ratios.get((new, base))
        below = one if base == old else ratios.get((old, base))
        if above and below and _usable(above) and _usable(below):
            return _quotient(above, below, spread)
    upside_down = ratios.get((old, new))
    if upside_down and _usable(upside_down):
        return _quotient(one, upside_down, spread)
    return None


def _quotient(new: Estimate, old: Estimate, spread: float) -> _Ratio:
    """Both sides are independent, and each has the spread once more."""
    middle, sides = math.log(new.value / old.value), (_deviation(new), _deviation(old))
    if sides[0] is None or sides[1] is None:
        return _Ratio(middle, None)
    return _Ratio(middle, math.sqrt(sides[0] ** 2 + sides[1] ** 2 + 2 * spread**2))


def _deviation(found: Estimate) -> float | None:
    """Of the logarithm, from half the width of the interval.

    A bootstrap of a low percentile is lopsided: without the fastest of three processes it jumps up,
    and the estimate itself does not. Of its longer side, a planted 15 % was missed in six of 21
    runs whose ratios really spread by 2 %.
    """
    if found.low is None or found.high is None:
        return None
    return math.log(found.high / found.low) / 2 / _normal(_STORED_CONFIDENCE)


def _usable(found: Estimate) -> bool:
    if found.low is None or found.high is None:
        return found.value > 0
    return 0 < found.low <= found.value <= found.high


def _normal(confidence: float) -> float:
    """Standard deviations to each side of an interval."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _comparison(
    made: _Made, ratios: Sequence[tuple[Pair, _Ratio]], fail_above: float
) -> Comparison:
    if not ratios:
        reasons = "; ".join(f"{one.row}: {one.reason}" for one in made.unmatched[:3])
        raise UsageError(
            f"No row of the two results can be compared ({reasons or 'there is none'}); expected "
            "the same artifact names, engines, threads, scenarios and stages."
        )
    wide = _normal(1 - (1 - _CONFIDENCE) / len(ratios))
    place = {id(row): number for number, row in enumerate(made.news)}
    return Comparison(
        method=made.method,
        fail_above=fail_above,
        confidence=_CONFIDENCE,
        old=made.old,
        rows=tuple(
            _row(pair, _interval(ratio, wide), place[id(pair.new)], fail_above)
            for pair, ratio in ratios
        ),
        unmatched=made.unmatched,
        notes=made.notes,
    )


def _interval(ratio: _Ratio, wide: float) -> Estimate:
    middle = ratio.logarithm
    if ratio.deviation is None:
        return Estimate(math.exp(middle), None, None)
    half = wide * ratio.deviation
    return Estimate(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _row(pair: Pair, ratio: Estimate, place: int, fail_above: float) -> ComparedRow:
    verdict = _verdict(ratio)
    failing = verdict == "slower" and ratio.value > fail_above
    beyond = ratio.high is None or ratio.high > max(fail_above, _RELEVANT)
    return ComparedRow(
        row=place,
        artifact=pair.new.artifact,
        engine=pair.new.engine,
        threads=pair.new.threads,
        scenario=pair.new.scenario,
        stage=pair.new.stage,
        ratio=ratio,
        verdict=verdict,
        failing=failing,
        undecided=not failing and beyond,
        same_file=pair.old.sha256 == pair.new.sha256,
        flags=tuple(_flags("old", pair.old) + _flags("new", pair.new)),
    )


def _verdict(ratio: Estimate) -> Verdict:
    if ratio.low is None or ratio.high is None:
        return "undecided"
    return "slower" if ratio.low > 1 else "faster" if ratio.high < 1 else "neither"


def _flags(side: str, row: Row) -> list[str]:
    return [f"{side}: {flag.words}" for flag in row.flags]


def check_allowed(fail_above: float) -> None:
    """Refuses what no row could be held against.

    Raises:
        UsageError: It is below 1, or no number.
    """
    if not 1 <= fail_above < math.inf:
        raise UsageError(
            f"A row cannot fail above {fail_above:g} times its old time; expected 1 or more, such "
            "as 1.1 for 10 % slower."
        )
