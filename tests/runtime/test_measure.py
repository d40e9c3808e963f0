"""The measuring loop, with a clock that only moves when a query says so."""

from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime import codec
from edgecell_runtime.measure import (
    BenchmarkResult,
    LatencyStats,
    MeasurementPlan,
    measure_latency,
    peak_memory_bytes,
)

MILLISECOND = 1_000_000


class FakeDevice:
    """A clock in nanoseconds, and queries that take known times of it."""

    def __init__(self, *durations: int) -> None:
        self.durations = durations
        self.now = 7
        self.queries: list[int] = []

    def clock(self) -> int:
        return self.now

    def call(self, query: int) -> object:
        self.queries.append(query)
        self.now += self.durations[query % len(self.durations)]
        return "an answer that nobody keeps"


def _plan(
    min_queries: int = 1,
    min_seconds: float = 0,
    max_seconds: float = 1000,
    warmup_queries: int = 0,
) -> MeasurementPlan:
    return MeasurementPlan(min_queries, min_seconds, max_seconds, warmup_queries)


def test_measure_latency_gives_each_query_its_own_time_in_order() -> None:
    device = FakeDevice(5, 3, 11, 2)
    times = measure_latency(device.call, plan=_plan(min_queries=4), clock=device.clock)
    assert times.dtype == np.int64
    assert times.tolist() == [5, 3, 11, 2]
    assert device.queries == [0, 1, 2, 3]


def test_measure_latency_runs_the_warm_up_first_and_does_not_count_it() -> None:
    device = FakeDevice(5, 3)
    plan = _plan(min_queries=2, warmup_queries=3)
    times = measure_latency(device.call, plan=plan, clock=device.clock)
    assert times.tolist() == [5, 3]
    assert device.queries == [0, 1, 2, 0, 1]


def test_measure_latency_goes_on_until_min_seconds_when_queries_are_fast() -> None:
    device = FakeDevice(100 * MILLISECOND)
    plan = _plan(min_queries=2, min_seconds=1.0)
    assert len(measure_latency(device.call, plan=plan, clock=device.clock)) == 10


def test_measure_latency_does_not_count_the_warm_up_into_min_seconds() -> None:
    device = FakeDevice(100 * MILLISECOND)
    plan = _plan(min_seconds=1.0, warmup_queries=9)
    assert len(measure_latency(device.call, plan=plan, clock=device.clock)) == 10


def test_measure_latency_stops_at_max_seconds_when_queries_are_slow() -> None:
    device = FakeDevice(400 * MILLISECOND)
    plan = _plan(min_queries=1024, max_seconds=2.0)
    assert len(measure_latency(device.call, plan=plan, clock=device.clock)) == 5


def test_warm_up_stops_at_max_seconds_and_one_query_is_measured() -> None:
    device = FakeDevice(5000 * MILLISECOND)
    plan = _plan(min_queries=1024, max_seconds=2.0, warmup_queries=50)
    times = measure_latency(device.call, plan=plan, clock=device.clock)
    assert times.tolist() == [5000 * MILLISECOND]
    assert device.queries == [0, 0]


@pytest.mark.parametrize(
    "options",
    [
        {"min_queries": 0},
        {"warmup_queries": -1},
        {"min_seconds": -1.0},
        {"min_seconds": 3.0, "max_seconds": 2.0},
        {"max_seconds": float("nan")},
    ],
)
def test_plan_refuses_what_cannot_be_measured(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least one query|min_seconds"):
        MeasurementPlan(**options)  # type: ignore[arg-type]


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


def test_benchmark_result_has_a_json_form() -> None:
    result = BenchmarkResult(
        artifact="malaria.tflite",
        format="tflite",
        recipe="static_int8",
        engine="litert",
        threads=2,
        size_bytes=123_456,
        load_ms=1.5,
        latency=LatencyStats.from_nanoseconds(np.array([MILLISECOND, 2 * MILLISECOND])),
        images_per_second=None,
        peak_memory_bytes=None,
        n=0,
        accuracy=None,
        sensitivity=None,
        specificity=None,
        auc=None,
    )
    assert codec.loads(BenchmarkResult, codec.dumps(result), "result") == result
