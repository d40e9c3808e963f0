"""From times to figures."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_runtime.bench import latency
from edgecell_runtime.bench.latency import Turn

MILLISECOND = 1_000_000


def _turn(times: Sequence[int] | NDArray[np.int64], number: int = 0, process: int = 0) -> Turn:
    return Turn(process, number, np.array(times, np.int64))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 11, 99, 101, 1000, 1024, 100_000])
def test_percentiles_are_nearest_ranks(count: int) -> None:
    times = np.random.default_rng(0).permutation(np.arange(1, count + 1)) * MILLISECOND
    found = latency.summarise([_turn(part) for part in np.array_split(times, min(count, 9))], 0)
    # The smallest time that at least p % of the queries did not exceed, in whole numbers.
    expected = [-(-count * permille // 1000) for permille in (500, 900, 990)]
    assert [found.median_ms.value, found.p90_ms, found.p99_ms] == expected
    assert found.p999_ms == (-(-count * 999 // 1000) if count >= 1000 else None)
    assert (found.count, found.minimum_ms) == (count, 1.0)
    assert found.mean_ms == pytest.approx((count + 1) / 2)


def test_histogram_counts_every_query_in_its_bin() -> None:
    found = latency.summarise([_turn([MILLISECOND, MILLISECOND, 10 * MILLISECOND, 50])], 0)
    assert sum(found.histogram) == 4
    begins = found.histogram_from + found.histogram_step * np.flatnonzero(found.histogram)
    assert begins == pytest.approx([-4.32, 0.0, 1.0])
    assert [count for count in found.histogram if count] == [1, 2, 1]


def test_outliers_are_kept() -> None:
    found = latency.summarise([_turn([MILLISECOND] * 99 + [10_000 * MILLISECOND])], 0)
    assert found.count == 100
    assert found.mean_ms > 100


@pytest.mark.parametrize("permille", [100, 500])
def test_drawn_quantile_is_that_of_the_drawn_blocks(permille: int) -> None:
    generator = np.random.default_rng(1)
    turns = [
        _turn(generator.integers(1, 1000, size), number)
        for number, size in enumerate([3, 8, 1, 20, 5])
    ]
    drawn = latency.draw_blocks(turns, 7)[:50]
    found = latency.drawn_quantiles(turns, drawn, permille)
    for weights, quantile in zip(drawn.astype(int), found, strict=True):
        times = np.concatenate(
            [np.tile(turn.durations, times) for turn, times in zip(turns, weights, strict=True)]
        )
        assert quantile == np.percentile(times, permille / 10, method="inverted_cdf")


def test_interval_covers_the_true_median_when_blocks_share_a_disturbance() -> None:
    """95 % promised; drawing single queries would cover about a third."""
    generator = np.random.default_rng(2)
    covered = 0
    for seed in range(100):
        shared = generator.normal(scale=0.1, size=(25, 1))
        times = np.exp(shared + generator.normal(scale=0.05, size=(25, 20))) * MILLISECOND
        figure = latency.summarise(
            [_turn(block.astype(np.int64), i) for i, block in enumerate(times)], seed
        ).median_ms
        covered += figure.low <= 1.0 <= figure.high
    assert 0.88 <= covered / 100 <= 0.99


@pytest.mark.parametrize("blocks", [1, 4, 5])
def test_there_is_no_interval_when_there_are_too_few_blocks(blocks: int) -> None:
    times = np.arange(1, 50) * MILLISECOND
    turns = [_turn(times + i, i) for i in range(blocks)]
    base = [_turn(times, i) for i in range(blocks)]
    found = (
        latency.summarise(turns, 0).median_ms,
        latency.images_per_second(turns, 0),
        latency.ratio_of_times(turns, base, 0),
        latency.median_of_values(list(range(1, blocks + 1)), 0),
        latency.ratio_of_values(list(range(1, blocks + 1)), [1.0] * blocks, 0),
    )
    for one in found:
        assert one is not None
        assert one.value > 0
        assert (one.low is None) == (one.high is None) == (blocks < 5)


def test_the_same_seed_gives_the_same_interval() -> None:
    turns = [_turn(np.arange(1, 50) * (i + 1), i) for i in range(6)]
    assert latency.summarise(turns, 3) == latency.summarise(turns, 3)


def test_ratio_is_free_of_what_disturbed_both_in_a_round() -> None:
    generator = np.random.default_rng(3)
    shared = generator.lognormal(sigma=0.3, size=40)
    base = [_turn([round(MILLISECOND * f)] * 5, i) for i, f in enumerate(shared)]
    ours = [_turn([round(1.15 * MILLISECOND * f)] * 5, i) for i, f in enumerate(shared)]
    figure = latency.ratio_of_times(ours, base, 0)
    assert figure is not None
    assert figure.value == pytest.approx(1.15, abs=1e-3)
    assert figure.high - figure.low < 0.01
    alone = latency.summarise(ours, 0).median_ms
    assert alone.high / alone.low > 1.1


def test_ratio_is_of_the_queries_that_nothing_disturbed() -> None:
    """Half of a shared host's time its other guests make a query half as long again."""
    generator = np.random.default_rng(4)

    def turns(milliseconds: float) -> list[Turn]:
        slowed = generator.permutation(np.repeat([1.0, 1.5], 15))
        times = (
            milliseconds * MILLISECOND * generator.lognormal(0, 0.01, (30, 60)) * slowed[:, None]
        )
        return [_turn(block.astype(np.int64), i) for i, block in enumerate(times)]

    base, ours = turns(1.0), turns(1.15)
    figure = latency.ratio_of_times(ours, base, 0)
    assert figure is not None
    assert 1.13 < figure.low < 1.15 < figure.high < 1.17
    medians = [latency.summarise(side, 0).median_ms for side in (ours, base)]
    assert medians[0].high / medians[1].low > 1.5, "which medians cannot tell"


def test_ratio_uses_the_rounds_that_both_had() -> None:
    base = [_turn([10], 0), _turn([10], 1, 1), _turn([999], 2)]
    ours = [_turn([999], 1), _turn([20], 1, 1), _turn([20], 0)]
    figure = latency.ratio_of_times(ours, base, 0)
    assert figure is not None
    assert figure.value == 2.0


def test_ratio_is_none_when_no_round_is_shared() -> None:
    assert latency.ratio_of_times([_turn([5], 0)], [_turn([5], 1)], 0) is None


def test_images_per_second_counts_every_image_of_a_batch() -> None:
    turns = [Turn(0, i, np.array([4 * MILLISECOND] * 3), images=8) for i in range(5)]
    assert latency.images_per_second(turns, 0).value == pytest.approx(2000)


def test_ratio_of_throughput_is_above_1_when_fewer_images_a_second_are_done() -> None:
    slow = [Turn(0, i, np.array([8 * MILLISECOND]), images=8) for i in range(5)]
    base = [Turn(0, i, np.array([MILLISECOND, MILLISECOND]), images=2) for i in range(5)]
    figure = latency.ratio_of_times(slow, base, 0)
    assert figure is not None
    assert figure.value == pytest.approx(2.0)


def test_interval_is_wider_when_processes_differ() -> None:
    def times(factor: float) -> NDArray[np.int64]:
        return generator.normal(1e6 * factor, 1e4, 40).astype(np.int64)

    def figure(spread: float) -> float:
        turns = [
            _turn(
                generator.normal(1e6 * (1 + spread * process), 1e4, 40).astype(np.int64), i, process
            )
            for process in (-1, 0, 1)
            for i in range(20)
        ]
        found = latency.summarise(turns, 0).median_ms
        return found.high - found.low

    generator = np.random.default_rng(4)
    assert figure(0.03) > 5 * figure(0.0)


def test_median_of_values_is_one_of_them() -> None:
    figure = latency.median_of_values([500.0, 510.0, 900.0, 505.0, 495.0], 0)
    assert figure.value == 505.0
    assert figure.low in (495.0, 500.0)
    assert 510.0 <= figure.high <= 900.0


def test_summary_refuses_no_times() -> None:
    with pytest.raises(ValueError, match="no measured time"):
        latency.summarise([_turn([])], 0)
