"""A benchmark in the JSON of pytest-benchmark, so that ``pytest-benchmark compare`` reads it."""

import math
from typing import Final

from edgecell.tasks.bench.words import OLD_MARK, SCENARIO_NAMES, engine_name
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark, Latency, Row
from edgecell_runtime.codec import Json

_FROM_BINS: Final = ("max", "stddev", "q1", "q3", "iqr", "ld15iqr", "hd15iqr")

_VERSION: Final = "5.1.0"
"""Of pytest-benchmark, whose form this is."""


def as_pytest_benchmark(benchmark: Benchmark) -> dict[str, Json]:
    """Converts what has single latencies, in seconds; cold starts and batches of none are left out.

    A result keeps a histogram and not every time. What only the times would give (the largest, the
    quartiles, the standard deviation) comes from the middles of its bins, each a few percent wide,
    and ``extra_info`` names it; minimum, median and mean are exact.
    """
    system = benchmark.system
    old = benchmark.comparison.old if benchmark.comparison else ()
    names = {
        row.target.artifact: row.artifact + (OLD_MARK if row.target.artifact in old else "")
        for row in benchmark.rows
    }
    return {
        "machine_info": {
            "node": "",
            "processor": system.processor,
            "machine": system.os.rpartition(" ")[2],
            "python_version": system.python.rpartition(" ")[2],
            "python_implementation": system.python.partition(" ")[0],
            "system": system.os.partition(" ")[0],
            "release": system.os,
            "cpu": {"brand_raw": system.processor, "count": system.allowed_cpus},
        },
        "commit_info": {"id": system.commit or "unknown", "dirty": False},
        "benchmarks": [
            _entry(row, row.latency, names[row.target.artifact])
            for row in benchmark.rows
            if row.latency is not None and any(row.latency.histogram)
        ],
        "datetime": benchmark.time,
        "version": _VERSION,
    }


def _entry(row: Row, latency: Latency, artifact: str) -> Json:
    scenario = SCENARIO_NAMES[row.scenario]
    threads = f"{row.threads} thread{'' if row.threads == 1 else 's'}"
    name = f"{artifact}[{engine_name(row)}-{threads}]"
    return {
        "group": f"{scenario}, {row.stage}",
        "name": name,
        "fullname": f"edgecell bench::{scenario}::{name}",
        "params": {"engine": engine_name(row), "threads": row.threads},
        "param": f"{engine_name(row)}-{threads}",
        "extra_info": {
            "sha256": row.sha256,
            "p90": _seconds(latency.p90_ms),
            "p99": _seconds(latency.p99_ms),
            "accuracy": row.evaluation.accuracy.value if row.evaluation else None,
            "flags": [flag.words for flag in row.flags],
            "relative": codec.encode(row.relative),
            "from_histogram": list(_FROM_BINS),
        },
        "options": {"disable_gc": False, "warmup": True, "timer": "perf_counter"},
        "stats": _statistics(latency),
    }


def _statistics(latency: Latency) -> dict[str, Json]:
    """The keys of ``pytest_benchmark.stats.Stats``, in seconds."""
    first, step = latency.histogram_from, latency.histogram_step
    bins = [
        (10 ** (first + (place + 0.5) * step) / 1e3, count)
        for place, count in enumerate(latency.histogram)
        if count
    ]
    count = sum(n for _, n in bins)
    median, mean = latency.median_ms.value / 1e3, latency.mean_ms / 1e3
    least = latency.minimum_ms / 1e3
    most = max(bins[-1][0], _seconds(latency.p999_ms) or 0.0)
    q1, q3 = _quantile(bins, 0.25), _quantile(bins, 0.75)
    iqr = q3 - q1
    inner = [value for value, _ in bins if q1 - 1.5 * iqr <= value <= q3 + 1.5 * iqr]
    binned = sum(value * n for value, n in bins) / count
    variance = sum(n * (value - binned) ** 2 for value, n in bins) / max(count - 1, 1)
    deviation = math.sqrt(variance)
    beyond = sum(n for value, n in bins if abs(value - binned) > deviation)
    outside = sum(n for value, n in bins if value < inner[0] or value > inner[-1])
    return {
        "min": least,
        "max": most,
        "mean": mean,
        "stddev": deviation,
        "rounds": latency.count,
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": beyond,
        "outliers": f"{beyond};{outside}",
        "ld15iqr": max(least, inner[0]),
        "hd15iqr": inner[-1],
        "ops": 1 / mean if mean else 0.0,
        "total": mean * latency.count,
        "iterations": 1,
    }


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3


def _quantile(bins: list[tuple[float, int]], share: float) -> float:
    """Nearest rank over the bins' middles."""
    rank = math.ceil(share * sum(count for _, count in bins))
    below = 0
    for value, count in bins:
        below += count
        if below >= rank:
            return value
    return bins[-1][0]
