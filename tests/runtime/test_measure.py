"""Measured times in a few numbers, and the most memory that a process took."""

from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime.measure import (
    LatencyStats,
    peak_memory_bytes,
)

MILLISECOND = 1_000_000


def test_latency_stats_are_times_of_queries_that_ran() -> None:
    times = np.random.default_rng(0).permutation(np.arange(1, 101)) * MILLISECOND
    assert LatencyStats.from_nanoseconds(times) == LatencyStats(
        count=100, median_ms=50.0, p90_ms=90.0, p99_ms=99.0, minimum_ms=1.0, mean_ms=50.5
    )


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 11, 99, 101, 1000, 1024, 100_000])
def test_latency_percentiles_are_nearest_ranks(count: int) -> None:
    stats = LatencyStats.from_nanoseconds(np.arange(1, count + 1) * MILLISECOND)
    # The smallest time that at least p % of the queries did not exceed, in whole numbers.
    expected = [-(-count * percent // 100) for percent in (50, 90, 99)]
    assert [stats.median_ms, stats.p90_ms, stats.p99_ms] == expected


def test_latency_stats_keep_fractions_of_a_millisecond() -> None:
    stats = LatencyStats.from_nanoseconds(np.array([1_234, 1_234, 5_678]))
    assert (stats.median_ms, stats.p99_ms) == (0.001234, 0.005678)


def test_latency_stats_refuse_no_times() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LatencyStats.from_nanoseconds(np.array([], dtype=np.int64))


def test_peak_memory_is_the_kernels_high_water_mark(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t   12345 kB\nVmRSS:\t  100 kB\n")
    assert peak_memory_bytes(status) == 12345 * 1024


@pytest.mark.parametrize("text", ["", "VmRSS:\t5 kB\n", "VmHWM:\tmany kB\n", "VmHWM:\t5 MB\n"])
def test_peak_memory_is_none_when_the_kernel_does_not_say(tmp_path: Path, text: str) -> None:
    status = tmp_path / "status"
    assert peak_memory_bytes(status) is None
    status.write_text(text)
    assert peak_memory_bytes(status) is None
