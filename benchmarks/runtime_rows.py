"""What ``runtime.py`` finds: one row a comparison, for machines and for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from turns import ratio_of_medians

from edgecell import console
from edgecell_runtime.manifest import Figure

Verdict = Literal["yes", "no", "open"]
"""Whether a goal is met; open where it lies within the interval."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Goal:
    """What a row is held against.

    Attributes:
        figure: Of the row: ``ratio`` or ``difference``.
        side: Whether the figure is to be at most or at least the limit.
        limit: In the figure's unit.
    """

    figure: Literal["ratio", "difference"]
    side: Literal["at most", "at least"]
    limit: float

    def verdict(self, figure: Figure) -> Verdict:
        """Whether the figure and its whole interval keep the limit."""
        sign = 1 if self.side == "at most" else -1
        worst, best = sorted((sign * figure.low, sign * figure.high), reverse=True)
        if worst <= sign * self.limit:
            return "yes"
        return "no" if best > sign * self.limit else "open"


@dataclass(frozen=True)
class Row:
    """One comparison of paired measurements.

    Attributes:
        question: What was measured.
        subject: The file, or the images.
        ours: What edgecell did.
        other: What it is compared with.
        unit: Of the medians and the difference.
        pairs: Number of measurements of each.
        our_median: Of edgecell.
        other_median: Of the other.
        ratio: Of the medians, edgecell's to the other's, with its interval.
        difference: Median over pairs of edgecell's minus the other's, with its interval.
        goal: None where the row is for information.
        met: None where there is no goal.
    """

    question: str
    subject: str
    ours: str
    other: str
    unit: str
    pairs: int
    our_median: float
    other_median: float
    ratio: Figure
    difference: Figure
    goal: Goal | None = None
    met: Verdict | None = None


@dataclass(frozen=True)
class Words:
    """The words of a row: see ``Row``."""

    question: str
    subject: str
    ours: str
    other: str
    unit: str


def compare(
    words: Words, ours: NDArray[np.float64], other: NDArray[np.float64], goal: Goal | None = None
) -> Row:
    """A row from float64 (pairs,) each, measured in pairs."""
    ratio, difference = ratio_of_medians(ours, other), median_difference(ours, other)
    found = {"ratio": ratio, "difference": difference}
    return Row(
        words.question,
        words.subject,
        words.ours,
        words.other,
        words.unit,
        pairs=len(ours),
        our_median=float(np.median(ours)),
        other_median=float(np.median(other)),
        ratio=ratio,
        difference=difference,
        goal=goal,
        met=None if goal is None else goal.verdict(found[goal.figure]),
    )


def median_difference(ours: NDArray[np.float64], other: NDArray[np.float64]) -> Figure:
    """The median over pairs of ours minus the other's, with a 95 % bootstrap interval."""
    differences = ours - other

    def median(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(np.median(values, axis=axis))

    if len(differences) < 2:
        value = float(differences[0])
        return Figure(value, value, value)
    interval = bootstrap(
        (differences,),
        median,
        vectorized=True,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Figure(float(median(differences)), float(interval.low), float(interval.high))


def by_turns(
    measures: list[Callable[[], float]], rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Takes one measurement of each in each round, in an order drawn anew.

    Returns:
        float64 (measures, rounds).
    """
    found = np.empty((len(measures), rounds))
    for turn in range(rounds):
        for number in generator.permutation(len(measures)):
            found[number, turn] = measures[number]()
    return found


COLUMNS: Final = (
    *("what", "of", "edgecell", "against", "unit", "edgecell's median", "the other's median"),
    *("ratio", "difference", "goal", "met", "pairs"),
)


def table(title: str, rows: tuple[Row, ...]) -> str:
    """The rows as a Markdown table."""
    return console.markdown_table(console.Table(title, COLUMNS, [_cells(row) for row in rows]))


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    words = "-" if goal is None else f"{goal.figure} {goal.side} {_number(goal.limit)}"
    return (
        *(row.question, row.subject, row.ours, row.other, row.unit),
        _number(row.our_median),
        _number(row.other_median),
        f"{row.ratio.value:.3f} ({row.ratio.low:.3f} to {row.ratio.high:.3f})",
        f"{_number(row.difference.value)} "
        f"({_number(row.difference.low)} to {_number(row.difference.high)})",
        words,
        row.met or "-",
        str(row.pairs),
    )


def _number(value: float) -> str:
    """Four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
