"""Warm-up until steady, with an injected clock."""

import numpy as np
import pytest
from support.fake_clock import MILLISECOND, FakeClock

from edgecell_runtime.bench.loop import Subject
from edgecell_runtime.bench.steadiness import WINDOWS, drift, warm_up


def _warm_up(clock: FakeClock, max_seconds: float = 1000.0) -> tuple[int, bool]:
    subject = Subject(clock.prepare, clock.ask, clock.keep)
    found = warm_up(subject, max_seconds, clock.read)
    return found.queries, found.steady


def test_warm_up_ends_after_the_fewest_windows_when_times_are_steady() -> None:
    clock = FakeClock([MILLISECOND])
    assert _warm_up(clock) == (WINDOWS * 20, True)
    assert clock.kept == []


def test_warm_up_goes_on_while_times_fall() -> None:
    falling = [(300 - i) * MILLISECOND // 10 for i in range(200)]
    clock = FakeClock([*falling[::-1], *[10 * MILLISECOND] * 10_000][::-1])
    queries, steady = _warm_up(clock)
    assert steady
    # Queries are numbered downwards, so that the falling ones come first.
    assert 200 < queries < 200 + 2 * WINDOWS + 2


def test_warm_up_says_when_its_time_ended_before_the_times_were_steady() -> None:
    clock = FakeClock([(10_000 - 9 * i) * 1000 for i in range(1000)][::-1])
    queries, steady = _warm_up(clock, max_seconds=1.0)
    assert not steady
    assert queries < 110


def test_warm_up_runs_one_query_of_a_model_that_is_slower_than_its_time() -> None:
    assert _warm_up(FakeClock([5000 * MILLISECOND]), max_seconds=2.0) == (1, False)


def test_drift_is_the_change_from_the_first_to_the_last() -> None:
    assert drift([10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]) == pytest.approx(7 / 13.5)
    assert drift([17.0, 16.0, 15.0, 14.0, 13.0, 12.0, 11.0, 10.0]) == pytest.approx(-7 / 13.5)


@pytest.mark.parametrize(
    "values",
    [
        [5.0] * 8,
        [10.0, 10.2, 9.9, 10.1, 10.0, 10.3, 9.8, 10.1],
        [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 90.0],
    ],
)
def test_drift_is_none_when_it_may_be_chance(values: list[float]) -> None:
    assert drift(values) == 0.0


def test_drift_is_rarely_seen_in_noise() -> None:
    noise = np.random.default_rng(0).lognormal(sigma=0.3, size=(400, WINDOWS)).tolist()
    assert sum(drift(row) != 0.0 for row in noise) <= 400 * 0.07
