"""Warm-up: queries are run until their times do not drift any more."""

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from edgecell_runtime.bench.loop import Answer, Asked, Clock, Limits, Subject, time_block
from edgecell_runtime.records import dataclass

WINDOWS: Final = 8
"""That are looked at. With fewer, hardly a drift could be told from chance."""

WINDOW_SECONDS: Final = 0.02
"""Of queries, at least; eight of them last longer than a governor needs to raise the frequency."""

TOLERANCE: Final = 0.01
"""Of the median: a drift over all windows that is smaller delays nothing, however sure it is."""

_NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class WarmUp:
    """How it went.

    Attributes:
        queries: That were run.
        steady: Whether the times had stopped drifting when it ended.
    """

    queries: int
    steady: bool


def drift(values: Sequence[float]) -> float:
    """By how much values rise (or fall) from the first to the last, as a share of their median.

    The change is Sen's: the median slope of all pairs (Sen 1968). It counts only where the test of
    Mann (1945) and Kendall tells it from chance at 5 %; no distribution is assumed, so that a
    stall does not look like a drift.

    Args:
        values: At least one, above 0, in the order of time.

    Returns:
        0.0 where there is no significant drift.
    """
    count = len(values)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    signs = [(values[j] > values[i]) - (values[j] < values[i]) for i, j in pairs]
    ties = [values.count(value) for value in set(values)]
    terms = [size * (size - 1) * (2 * size + 5) for size in (count, *ties)]
    variance = (terms[0] - sum(terms[1:])) / 18
    if variance <= 0 or (abs(sum(signs)) - 1) / math.sqrt(variance) < _NORMAL_95:
        return 0.0
    slope = median((values[j] - values[i]) / (j - i) for i, j in pairs)
    return slope * (count - 1) / median(values)


def warm_up(
    subject: Subject[Asked, Answer], max_seconds: float, clock: Clock = time.perf_counter_ns
) -> WarmUp:
    """Runs queries until the medians of the last windows drift by 1 % at most.

    Args:
        subject: What to run; its answers are not kept. Its queries are numbered downwards from -1,
            so that those that are measured later meet the images in their own order.
        max_seconds: Ends it in any case, after the query that reaches it.
        clock: What the time is taken from.
    """
    backwards = subject.backwards()
    medians: list[float] = []
    queries, left = 0, max_seconds
    while left > 0:
        limits = Limits(min(WINDOW_SECONDS, left), 1 << 30)
        block = time_block(backwards, queries, limits, clock)
        queries += len(block.durations)
        left -= block.elapsed_ns / 1e9
        medians.append(float(median(block.durations)))
        recent = medians[-WINDOWS:]
        if len(recent) == WINDOWS and abs(drift(recent)) <= TOLERANCE:
            return WarmUp(queries, steady=True)
    return WarmUp(queries, steady=False)
