import numpy as np
import pytest

from edgecell_export.speed import SpeedRatio, Turns, measure_by_turns, median_ms, speed_ratio
from edgecell_runtime.classifier import Classifier

PIXELS = np.zeros((3, 4, 4, 3), np.uint8)


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Slow(Classifier):
    """Takes a known time to answer."""

    def __init__(self, clock: Clock, nanoseconds: int) -> None:
        self._clock, self._nanoseconds = clock, nanoseconds
        self.images: list[int] = []

    def logits(self, pixels):  # type: ignore[no-untyped-def]
        assert pixels.shape == (1, 4, 4, 3)
        self._clock.now += self._nanoseconds


def test_turns_give_each_classifier_its_own_time() -> None:
    clock = Clock()
    times = measure_by_turns([Slow(clock, 500), Slow(clock, 2000)], PIXELS, Turns(50), clock)
    assert times.shape == (2, 50)
    assert set(times[0]) == {500}
    assert set(times[1]) == {2000}
    assert median_ms(times[1]) == pytest.approx(0.002)


def test_turns_end_when_the_time_is_over() -> None:
    clock = Clock()
    times = measure_by_turns([Slow(clock, 10**9)], PIXELS, Turns(300, max_seconds=50), clock)
    assert 1 <= times.shape[1] < 30


def test_ratio_is_of_medians_and_inside_of_its_interval() -> None:
    rng = np.random.default_rng(0)
    fast = rng.normal(1000, 50, 300).astype(np.int64)
    slow = rng.normal(2500, 100, 300).astype(np.int64)
    ratio = speed_ratio(fast, slow)
    assert ratio.low < ratio.value < ratio.high
    assert ratio.value == pytest.approx(2.5, rel=0.02)
    assert not ratio.slower
    assert speed_ratio(slow, fast).slower


def test_ratio_is_not_slower_when_times_are_alike() -> None:
    times = np.random.default_rng(0).normal(1000, 50, (2, 300)).astype(np.int64)
    assert not speed_ratio(times[0], times[1]).slower
    assert not speed_ratio(times[1], times[0]).slower


def test_slower_means_that_the_whole_interval_is_below_one() -> None:
    assert SpeedRatio(0.9, 0.8, 0.99).slower
    assert not SpeedRatio(0.9, 0.8, 1.01).slower
