"""Is an artifact faster than another one, on this machine? Their queries take turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.classifier import Classifier
from edgecell_runtime.measure import LatencyStats

_WARMUP_ROUNDS = 20
_RESAMPLES = 1000


@dataclass(frozen=True)
class Turns:
    """How many rounds are measured; in each, every artifact answers one query."""

    rounds: int = 300
    max_seconds: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class SpeedRatio:
    """How many times as fast one artifact is as another, with a 95 % interval.

    The interval is a percentile bootstrap over rounds (Efron & Tibshirani 1993): it covers the
    spread on this machine in these seconds, and nothing else.
    """

    value: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """Whether it is slower beyond the interval."""
        return self.high < 1


def measure_by_turns(
    classifiers: list[Classifier],
    pixels: NDArray[np.uint8],
    turns: Turns = Turns(),
    clock: Callable[[], int] = time.perf_counter_ns,
) -> NDArray[np.int64]:
    """Times one query of each artifact in each round, in random order.

    Args:
        classifiers: Open, each with one thread.
        pixels: uint8 (n, height, width, channels), 0-255; one image a query, by turns.
        turns: How many.
        clock: Nanoseconds that never run backwards.

    Returns:
        int64 (classifiers, rounds), nanoseconds.
    """
    rng = np.random.default_rng(turns.seed)
    durations: list[list[int]] = []
    began = clock()
    for number in range(-_WARMUP_ROUNDS, turns.rounds):
        image = pixels[number % len(pixels)][None]
        row = [0] * len(classifiers)
        for index in rng.permutation(len(classifiers)):
            classifiers[index].logits(image)  # brings its weights back into the caches
            start = clock()
            classifiers[index].logits(image)
            row[index] = clock() - start
        if number >= 0:
            durations.append(row)
            if clock() - began > turns.max_seconds * 1e9:
                break
    return np.array(durations, np.int64).T


def median_ms(durations: NDArray[np.int64]) -> float:
    """The median of one artifact's times, milliseconds."""
    return LatencyStats.from_nanoseconds(durations).median_ms


def speed_ratio(
    durations: NDArray[np.int64], reference: NDArray[np.int64], seed: int = 0
) -> SpeedRatio:
    """How many times as fast as the reference, by medians.

    Args:
        durations: int64 (rounds,), nanoseconds.
        reference: int64 (rounds,), of the same rounds.
        seed: Of the resampling.
    """
    picks = np.random.default_rng(seed).integers(len(durations), size=(_RESAMPLES, len(durations)))
    ratios = np.median(reference[picks], axis=1) / np.median(durations[picks], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    value = np.median(reference) / np.median(durations)
    return SpeedRatio(float(value), float(low), float(high))
