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

from edgecell.tasks.bench_matching import Pair, Unmatched, different, match
from edgecell_runtime.bench.plan import Scenario
from edgecell_runtime.bench.results import Benchmark, Row
from edgecell_runtime.errors import UsageError
from edgecell_runtime.manifest import Figure

Verdict = Literal["slower", "faster", "neither"]

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


@dataclass(frozen=True)
class ComparedRow:
    """One row of both results.

    Attributes:
        artifact: Its file name in the new result.
        engine: That ran it, with its version.
        threads: That the engine was given.
        scenario: Which.
        stage: What was timed.
        ratio: New time over old time with the interval that the verdict is by.
        verdict: Whether the interval lies above 1, below 1, or has 1 in it.
        failing: Whether it is slower, and its ratio above what is allowed.
        undecided: Whether it does not fail, but the interval reaches above the comparison's limit.
        same_file: Whether both are the same bytes.
        flags: What disturbed either measurement.
    """

    artifact: str
    engine: str
    threads: int
    scenario: Scenario
    stage: str
    ratio: Figure
    verdict: Verdict
    failing: bool
    undecided: bool
    same_file: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All rows.

    Attributes:
        method: ``interleaved`` in one run, or ``reference``: relative to the reference kernel.
        fail_above: A row fails that is slower, and whose ratio is above this.
        confidence: Of the intervals, for all rows together.
        rows: Those that both sides have.
        unmatched: Those that could not be compared, with the reason.
        notes: What else differs.
    """

    method: Literal["interleaved", "reference"]
    fail_above: float
    confidence: float
    rows: tuple[ComparedRow, ...]
    unmatched: tuple[Unmatched, ...]
    notes: tuple[str, ...]

    @property
    def limit(self) -> float:
        """An interval of a row that does not fail should not reach above this."""
        return max(self.fail_above, _RELEVANT)

    @property
    def exit_status(self) -> int:
        """1 where a row fails, else 0."""
        return int(any(row.failing for row in self.rows))


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
    _check(fail_above)
    pairs, unmatched = match(old.rows, new.rows)
    estimates, missing = [], []
    for pair in pairs:
        before, after = pair.old.relative, pair.new.relative
        if before and after and _usable(before) and _usable(after):
            between_runs = spread.run[pair.new.scenario]
            estimates.append((pair, _quotient(after, before, between_runs)))
        else:
            missing.append(Unmatched.of(pair.new, "it was measured without the reference kernel"))
    notes = tuple(different(old, new, [pair for pair, _ in estimates]))
    return _comparison("reference", estimates, (*unmatched, *missing), notes, fail_above)


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
    _check(fail_above)
    olds = [row for row in benchmark.rows if row.target.artifact in old]
    news = [row for row in benchmark.rows if row.target.artifact not in old]
    pairs, unmatched = match(olds, news)
    estimates, missing = [], []
    for pair in pairs:
        estimate = _interleaved(benchmark, pair, spread.process)
        if estimate is None:
            missing.append(Unmatched.of(pair.new, "the run has no ratio of the two"))
        else:
            estimates.append((pair, estimate))
    notes = tuple(different(benchmark, benchmark, [pair for pair, _ in estimates]))
    return _comparison("interleaved", estimates, (*unmatched, *missing), notes, fail_above)


@dataclass(frozen=True)
class _Estimate:
    """The logarithm of a ratio, and its standard deviation."""

    logarithm: float
    deviation: float


def _interleaved(benchmark: Benchmark, pair: Pair, spread: float) -> _Estimate | None:
    index = {id(row): i for i, row in enumerate(benchmark.rows)}
    old, new = index[id(pair.old)], index[id(pair.new)]
    ratios = {(ratio.row, ratio.base): ratio.ratio for ratio in benchmark.ratios}
    one = Figure(1.0, 1.0, 1.0)
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


def _quotient(new: Figure, old: Figure, spread: float) -> _Estimate:
    """Both sides are independent, and each has the spread once more."""
    variance = _deviation(new) ** 2 + _deviation(old) ** 2 + 2 * spread**2
    return _Estimate(math.log(new.value / old.value), math.sqrt(variance))


def _deviation(figure: Figure) -> float:
    """Of the logarithm, from the longer side of the interval: a bootstrap's may be lopsided."""
    wide = max(math.log(figure.high / figure.value), math.log(figure.value / figure.low))
    return max(wide, 0.0) / _normal(_STORED_CONFIDENCE)


def _usable(figure: Figure) -> bool:
    return 0 < figure.low <= figure.value <= figure.high


def _normal(confidence: float) -> float:
    """Standard deviations to each side of an interval."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _comparison(
    method: Literal["interleaved", "reference"],
    estimates: Sequence[tuple[Pair, _Estimate]],
    unmatched: tuple[Unmatched, ...],
    notes: tuple[str, ...],
    fail_above: float,
) -> Comparison:
    if not estimates:
        reasons = "; ".join(f"{one.row}: {one.reason}" for one in unmatched[:3])
        raise UsageError(
            f"No row of the two results can be compared ({reasons or 'there is none'}); expected "
            "the same artifact names, engines, threads, scenarios and stages."
        )
    wide = _normal(1 - (1 - _CONFIDENCE) / len(estimates))
    rows = tuple(_row(pair, estimate, wide, fail_above) for pair, estimate in estimates)
    return Comparison(method, fail_above, _CONFIDENCE, rows, unmatched, notes)


def _row(pair: Pair, estimate: _Estimate, wide: float, fail_above: float) -> ComparedRow:
    middle, half = estimate.logarithm, wide * estimate.deviation
    ratio = Figure(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
    verdict: Verdict = "slower" if ratio.low > 1 else "faster" if ratio.high < 1 else "neither"
    failing = verdict == "slower" and ratio.value > fail_above
    return ComparedRow(
        artifact=pair.new.artifact,
        engine=pair.new.engine,
        threads=pair.new.threads,
        scenario=pair.new.scenario,
        stage=pair.new.stage,
        ratio=ratio,
        verdict=verdict,
        failing=failing,
        undecided=not failing and ratio.high > max(fail_above, _RELEVANT),
        same_file=pair.old.sha256 == pair.new.sha256,
        flags=tuple(_flags("old", pair.old) + _flags("new", pair.new)),
    )


def _flags(side: str, row: Row) -> list[str]:
    return [f"{side}: {flag.words}" for flag in row.flags]


def _check(fail_above: float) -> None:
    if not 1 <= fail_above < math.inf:
        raise UsageError(
            f"A row cannot fail above {fail_above:g} times its old time; expected 1 or more, such "
            "as 1.1 for 10 % slower."
        )
