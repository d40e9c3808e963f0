"""Times to figures: nearest ranks, and bootstrap intervals that draw whole blocks.

Queries of one block share what disturbed the machine in that moment, and blocks of one process what
its memory's layout does to it; drawing single queries would call both precision. So processes
are drawn first, and of each as many blocks as it had (Davison & Hinkley 1997, 3.8).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench.results import Estimate, Latency
from edgecell_runtime.records import dataclass

RESAMPLES: Final = 2000

HISTOGRAM_STEP: Final = 0.02
"""Of log10: a bin ends 4.7 % above where it begins."""

_CELLS: Final = 1024
"""Ranks are counted in so many cells at most: a bootstrap's median is then right to a tenth of a
percentile, and takes the same time for a million queries."""

_CHUNK: Final = 250
"""Resamples that are counted at once, so that a device's memory holds them."""

_INTERVAL: Final = (2.5, 97.5)

FEWEST: Final = 5
"""Blocks, or single values, that can carry a 95 % interval. From the least to the greatest of n the
true median lies in 1 - 2 / 2**n of cases: 94 % with five, 88 % with four, 0 % with one, and what a
bootstrap draws never leaves that range."""

_PERMILLES: Final = (500, 900, 990, 999)

UNDISTURBED: Final = 100
"""Ratios are of this permille. Other processes, and a host's other guests, only make queries
slower, and the fastest tenth met the least of them; the very fastest (Chen & Revels 2016) hangs on
one odd query. On two CPUs of a shared host, where the ratio of medians of a file and its own copy
spread by 7.3 % from run to run of 3 s, this one spread by 1.4 %."""


@dataclass(frozen=True)
class Turn:
    """A block that was measured.

    Attributes:
        process: In which process of its target, from 0 on.
        round: In which round of it; two targets' blocks of one round lie next to each other.
        durations: int64 (queries,), nanoseconds.
        images: Of each query.
    """

    process: int
    round: int
    durations: NDArray[np.int64]
    images: int = 1


def summarise(turns: Sequence[Turn], seed: int) -> Latency:
    """Summarises measured blocks.

    Percentiles are nearest ranks: the p-th is the smallest measured time that at least p % of the
    queries did not exceed, so each is the time of a query that ran; the median of an even number is
    the lower of the middle two.

    Args:
        turns: At least one, with at least one query.
        seed: Of the bootstrap.
    """
    times = _times(turns)
    if not times.size:
        raise ValueError("there is no measured time.")
    times.sort()
    p50, p90, p99, p999 = (float(_nearest_rank(times, permille)) for permille in _PERMILLES)
    drawn = drawn_quantiles(turns, draw_blocks(turns, seed), 500)
    histogram, begins = _histogram(times)
    return Latency(
        count=times.size,
        median_ms=_estimate(p50 / 1e6, drawn / 1e6, len(turns)),
        p90_ms=p90 / 1e6,
        p99_ms=p99 / 1e6,
        p999_ms=p999 / 1e6 if times.size >= 1000 else None,
        minimum_ms=float(times[0] / 1e6),
        mean_ms=float(times.mean() / 1e6),
        histogram=histogram,
        histogram_from=begins,
        histogram_step=HISTOGRAM_STEP,
    )


def images_per_second(turns: Sequence[Turn], seed: int) -> Estimate:
    """Throughput over all blocks, with its interval."""
    images, seconds = _work(turns)
    drawn = draw_blocks(turns, seed)
    rate = images.sum() / seconds.sum()
    return _estimate(rate, (drawn @ images) / (drawn @ seconds), len(turns))


def median_of_values(values: Sequence[float], seed: int) -> Estimate:
    """The median of single values, such as cold starts, each drawn alone; nearest rank."""
    found = np.array(values, np.float64)
    drawn = np.random.default_rng(seed).choice(found, (found.size, RESAMPLES))
    return _estimate(_median(found), _nearest_rank(np.sort(drawn, axis=0), 500), found.size)


def ratio_of_times(turns: Sequence[Turn], base: Sequence[Turn], seed: int) -> Estimate | None:
    """How many times as long an image takes as with another target, from rounds that both had.

    Of the times below which a tenth of each lies (``UNDISTURBED``). The bootstrap draws rounds, so
    that what disturbed both in one round stays together.

    Args:
        turns: Blocks of the one.
        base: Blocks of the other.
        seed: Of the bootstrap.

    Returns:
        None where they share no round.
    """
    ours, theirs = shared_rounds(turns, base)
    if not ours:
        return None
    sides = [tuple(map(_an_image, side)) for side in (ours, theirs)]
    drawn = draw_blocks(ours, seed)
    one, other = (_nearest_rank(np.sort(_times(side)), UNDISTURBED) for side in sides)
    above, below = (drawn_quantiles(side, drawn, UNDISTURBED) for side in sides)
    return _estimate(float(one / other), above / below, len(ours))


def ratio_of_values(values: Sequence[float], base: Sequence[float], seed: int) -> Estimate:
    """How many times as long, where each value has its partner, as cold starts of one round do."""
    ours, theirs = np.array(values, np.float64), np.array(base, np.float64)
    rows = np.random.default_rng(seed).integers(ours.size, size=(ours.size, RESAMPLES))
    above, below = (_nearest_rank(np.sort(side[rows], axis=0), 500) for side in (ours, theirs))
    return _estimate(_median(ours) / _median(theirs), above / below, ours.size)


def shared_rounds(
    turns: Sequence[Turn], base: Sequence[Turn]
) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """The blocks of the rounds that both had, in the same order."""
    partners = {(turn.process, turn.round): turn for turn in base}
    pairs = [
        (turn, partner)
        for turn in turns
        if (partner := partners.get((turn.process, turn.round))) is not None
    ]
    return tuple(turn for turn, _ in pairs), tuple(partner for _, partner in pairs)


def draw_blocks(turns: Sequence[Turn], seed: int) -> NDArray[np.float64]:
    """How often each block is drawn: processes with replacement, then of each its blocks.

    Returns:
        float64 (RESAMPLES, turns).
    """
    generator = np.random.default_rng(seed)
    process = np.array([turn.process for turn in turns])
    found = np.unique(process)
    several = len(found)
    chosen = generator.multinomial(several, np.full(len(found), 1 / len(found)), RESAMPLES)
    drawn = np.empty((RESAMPLES, len(turns)))
    for column, number in enumerate(found):
        (blocks,) = np.nonzero(process == number)
        even = np.full(len(blocks), 1 / len(blocks))
        drawn[:, blocks] = generator.multinomial(chosen[:, column] * len(blocks), even)
    return drawn


def drawn_quantiles(
    turns: Sequence[Turn], drawn: NDArray[np.float64], permille: int
) -> NDArray[np.float64]:
    """A quantile of each resample, nanoseconds, float64 (RESAMPLES,); nearest rank.

    The times are sorted once; what a resample changes is how often each counts.
    """
    times = _times(turns)
    block = np.repeat(np.arange(len(turns)), [turn.durations.size for turn in turns])
    order = np.argsort(times, kind="stable")
    cells = min(times.size, _CELLS)
    cell = np.arange(times.size) * cells // times.size
    counts = np.zeros((len(turns), cells))
    np.add.at(counts, (block[order], cell), 1)
    # The last of a cell's times stands for them: a cell holds times next to each other in rank.
    upper = times[order[np.searchsorted(cell, np.arange(cells), side="right") - 1]]
    found = np.empty(len(drawn))
    for start in range(0, len(drawn), _CHUNK):
        below = np.cumsum(drawn[start : start + _CHUNK] @ counts, axis=1)
        rank = np.ceil(below[:, -1:] * permille / 1000)
        found[start : start + _CHUNK] = upper[(below < rank).sum(axis=1)]
    return found


def _an_image(turn: Turn) -> Turn:
    return Turn(turn.process, turn.round, turn.durations // turn.images)


def _work(turns: Sequence[Turn]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    images = np.array([turn.images * turn.durations.size for turn in turns], np.float64)
    seconds = np.array([turn.durations.sum() for turn in turns], np.float64) / 1e9
    return images, seconds


def _times(turns: Sequence[Turn]) -> NDArray[np.int64]:
    return np.concatenate([turn.durations for turn in turns])


def _median(times: NDArray[np.int64] | NDArray[np.float64]) -> float:
    return float(_nearest_rank(np.sort(times), 500))


def _nearest_rank(ordered: NDArray[Any], permille: int) -> Any:
    """In whole numbers: NumPy's ``inverted_cdf`` takes 99.9 % of 1,000 times for the 1,000th."""
    return ordered[-(-ordered.shape[0] * permille // 1000) - 1]


def _estimate(value: float, drawn: NDArray[np.float64], blocks: int) -> Estimate:
    if blocks < FEWEST:
        return Estimate(float(value), None, None)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(float(value), float(low), float(high))


def _histogram(times: NDArray[np.int64]) -> tuple[tuple[int, ...], float]:
    """Counts in bins of log10(ms), and where the first begins: a whole number of steps."""
    # A clock's step may be longer than a query: it then took no time, of which there is no log.
    bins = np.floor(np.log10(np.maximum(times, 1) / 1e6) / HISTOGRAM_STEP).astype(np.int64)
    first = int(bins.min())
    return tuple(np.bincount(bins - first).tolist()), round(first * HISTOGRAM_STEP, 2)
