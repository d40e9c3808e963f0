"""edgecell's measuring loop, with pytest-benchmark as the reporter.

pytest-benchmark takes the time of a call from a timer that one may choose. The queries are timed by
the loop of ``edgecell bench`` first, and then told to it: each round is a call that moves a clock
of our own on by what a query took, and that clock is the timer. So its table, its files and its
comparisons are of the very times that the loop measured, query by query.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from edgecell_runtime.bench.loop import Answer, Asked, Limits, Subject, time_block
from edgecell_runtime.bench.steadiness import warm_up

MOST_QUERIES: Final = 20_000
"""Of a test: telling pytest-benchmark of one takes some microseconds too."""


class _Told:
    """A clock that stands still between two queries."""

    def __init__(self) -> None:
        self.now = 0.0
        self._left: Iterator[int] = iter(())

    def begin(self, durations: Iterable[int]) -> None:
        self.now, self._left = 0.0, iter(durations)

    def go_on(self) -> None:
        self.now += next(self._left, 0) / 1e9


_told = _Told()


def edgecell_loop() -> float:
    """The timer, seconds; its name stands in pytest-benchmark's files."""
    return _told.now


def timed_by_loop(group: str) -> pytest.MarkDecorator:
    """Marks a test whose times come from the loop, in a group of pytest-benchmark's table."""
    return pytest.mark.benchmark(group=group, timer=edgecell_loop)


def report(benchmark: BenchmarkFixture, durations: Iterable[int]) -> None:
    """Tells pytest-benchmark of durations, in nanoseconds, one a round.

    The test has to be marked with ``timed_by_loop``.
    """
    found = list(durations)
    _told.begin(found)
    benchmark.pedantic(_told.go_on, rounds=len(found), iterations=1)


def measure(benchmark: BenchmarkFixture, subject: Subject[Asked, Answer], seconds: float) -> Answer:
    """Warms up until steady, times queries for so long, and reports them.

    With ``--benchmark-disable`` one query is run and nothing is reported.

    Returns:
        The last answer.
    """
    answers: dict[str, Answer] = {}
    noted = Subject(subject.prepare, subject.ask, _keeping(subject.keep, answers))
    if benchmark.disabled:
        time_block(noted, 0, Limits(0, 1))
        benchmark.pedantic(int)
        return answers["last"]
    warmed = warm_up(subject, max(seconds, 1.0))
    block = time_block(noted, 0, Limits(seconds, MOST_QUERIES))
    benchmark.extra_info["warm-up"] = f"{warmed.queries} queries, " + (
        "steady" if warmed.steady else "not steady"
    )
    report(benchmark, block.durations)
    return answers["last"]


def _keeping(
    keep: Callable[[int, Answer], None], answers: dict[str, Answer]
) -> Callable[[int, Answer], None]:
    def both(query: int, answer: Answer) -> None:
        keep(query, answer)
        answers["last"] = answer

    return both
