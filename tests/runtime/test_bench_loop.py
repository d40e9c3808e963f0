"""The measuring loop, with a clock that only moves when a query says so."""

import pytest
from support.fake_clock import MILLISECOND, FakeClock

from edgecell_runtime.bench.loop import Limits, Pace, Subject, time_block, time_paced_block


def _subject(clock: FakeClock) -> Subject[int, str]:
    return Subject(clock.prepare, clock.ask, clock.keep)


def test_block_gives_each_query_its_own_time_in_order() -> None:
    clock = FakeClock([5, 3, 11, 2], preparing=1000)
    block = time_block(_subject(clock), 0, Limits(1.0, 4), clock.read)
    assert block.durations.tolist() == [5, 3, 11, 2]
    assert clock.prepared == [0, 1, 2, 3]
    assert clock.kept == [(i, f"answer {i}") for i in range(4)]


@pytest.mark.parametrize("duration_us", [50, 100, 1_000, 50_000])
def test_block_recovers_known_times_exactly(duration_us: int) -> None:
    clock = FakeClock([duration_us * 1000], preparing=300)
    block = time_block(_subject(clock), 0, Limits(1.0, 100), clock.read)
    assert set(block.durations) == {duration_us * 1000}


def test_block_goes_on_from_the_query_it_is_told() -> None:
    clock = FakeClock([5])
    time_block(_subject(clock), 17, Limits(1.0, 2), clock.read)
    assert clock.prepared == [17, 18]


def test_block_ends_after_the_query_that_reaches_its_seconds() -> None:
    clock = FakeClock([30 * MILLISECOND], preparing=10 * MILLISECOND)
    block = time_block(_subject(clock), 0, Limits(0.1, 1000), clock.read)
    assert len(block.durations) == 3
    assert block.elapsed_ns == 3 * 40 * MILLISECOND + 2 * 11


def test_block_runs_one_query_when_there_is_no_time() -> None:
    clock = FakeClock([5])
    assert time_block(_subject(clock), 0, Limits(0.0, 1000), clock.read).durations.tolist() == [5]


def test_trial_keeps_no_answer() -> None:
    clock = FakeClock([5])
    time_block(_subject(clock).without_keeping(), 0, Limits(1.0, 3), clock.read)
    assert clock.kept == []


def test_backwards_asks_for_the_queries_before_the_first_one() -> None:
    clock = FakeClock([5])
    time_block(_subject(clock).backwards(), 0, Limits(1.0, 3), clock.read)
    assert clock.prepared == [-1, -2, -3]
    assert clock.kept == []


def test_paced_block_asks_once_a_tick_and_sleeps_between() -> None:
    clock = FakeClock([4 * MILLISECOND])
    pace = Pace(100.0, clock.sleep)
    block = time_paced_block(_subject(clock), 0, Limits(10.0, 5), pace, clock.read)
    assert block.durations.tolist() == [4 * MILLISECOND] * 5
    assert block.missed_ticks == 0
    assert block.elapsed_ns == 54 * MILLISECOND  # the fifth tick, and its query
    assert clock.slept == pytest.approx([0.010, *[0.006 - 11e-9] * 4])


def test_paced_block_counts_the_ticks_that_a_slow_query_missed() -> None:
    # The first runs from tick 1 to 3.5, so that 2 and 3 are missed; the second takes its own only.
    clock = FakeClock([25 * MILLISECOND, 5 * MILLISECOND])
    pace = Pace(100.0, clock.sleep)
    block = time_paced_block(_subject(clock), 0, Limits(10.0, 3), pace, clock.read)
    assert block.missed_ticks == 2
    assert block.durations.tolist() == [25 * MILLISECOND, 5 * MILLISECOND, 25 * MILLISECOND]
    assert block.elapsed_ns == 75 * MILLISECOND  # ticks 1, 4, 5


def test_paced_block_sleeps_again_when_it_was_woken_early() -> None:
    clock = FakeClock([MILLISECOND])

    def sleep_half(seconds: float) -> None:
        clock.sleep(max(seconds / 2, 1e-6))

    pace = Pace(100.0, sleep_half)
    block = time_paced_block(_subject(clock), 0, Limits(10.0, 1), pace, clock.read)
    assert len(clock.slept) > 2
    assert block.elapsed_ns == pytest.approx(11 * MILLISECOND, abs=2000)
