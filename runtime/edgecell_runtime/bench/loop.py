"""The measuring loop: queries one after another, each timed alone.

What a query needs is made ready before its time begins and its answer is put away after it ended,
so that a time holds the question itself, one call of Python's and one reading of the clock.
"""

import time
from array import array
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from edgecell_runtime.records import dataclass

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

Clock = Callable[[], int]
"""Nanoseconds that never run backwards."""

NANOSECONDS: Final = 1_000_000_000


def forget(_query: int, _answer: object) -> None:
    """Keeps no answer."""


@dataclass(frozen=True)
class Subject(Generic[Asked, Answer]):
    """What is timed.

    Attributes:
        prepare: Makes query i ready; not timed.
        ask: Runs it; timed.
        keep: Puts its answer away; not timed.
    """

    prepare: Callable[[int], Asked]
    ask: Callable[[Asked], Answer]
    keep: Callable[[int, Answer], None] = forget

    def without_keeping(self) -> "Subject[Asked, Answer]":
        """The same queries, for a trial."""
        return Subject(self.prepare, self.ask)

    def backwards(self) -> "Subject[Asked, Answer]":
        """Queries numbered downwards from -1, none kept, before those that count."""
        return Subject(lambda query: self.prepare(-1 - query), self.ask)


@dataclass(frozen=True)
class Limits:
    """When a block ends: after the query that reaches one of these; one query is always run.

    Attributes:
        seconds: Since the block began, preparations included.
        queries: That were timed.
    """

    seconds: float
    queries: int


@dataclass(frozen=True)
class Block:
    """Queries that were timed without a break.

    Attributes:
        durations: Nanoseconds, in the order of running; eight bytes a query.
        elapsed_ns: From the block's beginning to the end of its last query.
        missed_ticks: Of a paced block: ticks at which the query before was still running.
    """

    durations: "array[int]"
    elapsed_ns: int
    missed_ticks: int = 0


def time_block(
    subject: Subject[Asked, Answer],
    first: int,
    limits: Limits,
    clock: Clock = time.perf_counter_ns,
) -> Block:
    """Times queries one after another.

    Args:
        subject: What to run.
        first: The number of the first query; the others follow.
        limits: When to end.
        clock: What the time is taken from.
    """
    prepare, ask, keep = subject.prepare, subject.ask, subject.keep
    durations = array("q")
    append = durations.append
    query, past = first, first + limits.queries
    began = clock()
    deadline = began + round(limits.seconds * NANOSECONDS)
    while True:
        asked = prepare(query)
        start = clock()
        answer = ask(asked)
        end = clock()
        append(end - start)
        keep(query, answer)
        query += 1
        if end >= deadline or query >= past:
            return Block(durations, end - began)


@dataclass(frozen=True)
class Pace:
    """The ticks of a camera.

    Attributes:
        rate_hz: How many a second.
        sleep: Waits for so many seconds, or somewhat longer.
    """

    rate_hz: float
    sleep: Callable[[float], None] = time.sleep


def time_paced_block(
    subject: Subject[Asked, Answer],
    first: int,
    limits: Limits,
    pace: Pace,
    clock: Clock = time.perf_counter_ns,
) -> Block:
    """Times one query at each tick, and sleeps between two.

    A query's time begins when it is started and not at its tick: how late a sleeping process wakes
    up is the operating system's doing. A tick that comes while a query is still running is missed,
    as a camera's frame would be; the next query waits for the next tick.

    Args:
        subject: What to run.
        first: The number of the first query, which runs one period after the beginning.
        limits: When to end.
        pace: When the ticks come.
        clock: What the time is taken from.
    """
    period = NANOSECONDS / pace.rate_hz
    durations = array("q")
    query, missed, tick = first, 0, 1
    began = clock()
    deadline = began + round(limits.seconds * NANOSECONDS)
    while True:
        asked = subject.prepare(query)
        due = began + round(tick * period)
        while (now := clock()) < due:
            pace.sleep((due - now) / NANOSECONDS)
        start = clock()
        answer = subject.ask(asked)
        end = clock()
        durations.append(end - start)
        subject.keep(query, answer)
        query += 1
        if end >= deadline or query >= first + limits.queries:
            return Block(durations, end - began, missed)
        following = max(tick + 1, int((end - began) // period) + 1)
        missed += following - tick - 1
        tick = following
