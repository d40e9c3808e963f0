"""Plausible results of a benchmark, as its measuring would leave them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecell_runtime.bench.plan import Plan, Scenario, Target
from edgecell_runtime.bench.results import (
    BatchRate,
    Benchmark,
    ColdStart,
    ComparedRow,
    Comparison,
    Estimate,
    Flag,
    Latency,
    Ratio,
    Row,
    Skipped,
)
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.system import SystemInfo, describe_system

STEP = 0.02
TFLITE, ONNX = "malaria-cnn-float32.tflite", "malaria-cnn-static_int8.onnx"


def around(value: float, share: float = 0.01) -> Estimate:
    """A value with an interval of so much to each side."""
    return Estimate(value, value / (1 + share), value * (1 + share))


def latency(median_ms: float, *, count: int = 2048, seed: int = 0) -> Latency:
    """Lognormal times with a few stalls, summarised as the measuring does."""
    generator = np.random.default_rng(seed)
    times = median_ms * (0.9 + 0.1 * generator.lognormal(0, 0.6, count))
    times[:: max(count // 12, 1)] *= 3
    times *= median_ms / np.percentile(times, 50, method="inverted_cdf")
    p90, p99, p999 = np.percentile(times, (90, 99, 99.9), method="inverted_cdf")
    first = math.floor(np.log10(times.min()) / STEP)
    bins = np.floor(np.log10(times) / STEP).astype(int) - first
    return Latency(
        count=count,
        median_ms=around(median_ms),
        p90_ms=float(p90),
        p99_ms=float(p99),
        p999_ms=float(p999) if count >= 1000 else None,
        minimum_ms=float(times.min()),
        mean_ms=float(times.mean()),
        histogram=tuple(int(n) for n in np.bincount(bins)),
        histogram_from=first * STEP,
        histogram_step=STEP,
    )


def evaluation(accuracy: float = 0.953) -> Evaluation:
    share = 1 - accuracy
    figures = [
        Figure(value, value - 0.011, min(value + 0.009, 1.0))
        for value in (accuracy, accuracy - 0.01, accuracy + 0.01, 1 - share / 5)
    ]
    return Evaluation(5393, 40, *figures)


def row(artifact: str = TFLITE, scenario: Scenario = "single_stream", **changes: Any) -> Row:
    """One row; ``ms`` is its time, whatever the scenario."""
    ms: float = changes.pop("ms", 0.75)
    form = artifact.rpartition(".")[2]
    engine = {"tflite": "litert", "onnx": "onnxruntime"}.get(form, "tensorflow")
    made = Row(
        target=Target(f"exports/{artifact}", "", changes.get("threads", 2)),
        artifact=artifact,
        sha256=f"{len(artifact):02x}" * 32,
        format=form,
        recipe=artifact.rpartition(".")[0].rpartition("-")[2],
        engine=f"{engine} 2.3.0",
        threads=2,
        threads_seen=2,
        scenario=scenario,
        stage="model",
        size_bytes=4_368_406 if "int8" in artifact else 17_355_512,
        load_ms=61.25,
        peak_memory_bytes=84_000_768,
        macs=30_123_456,
        operators={"CONV_2D int8": 4, "FULLY_CONNECTED int8": 2},
        warmup_queries=75,
        latency=None if scenario == "cold" else latency(ms),
        images_per_second=around(2000 / ms, 0.02) if scenario == "offline" else None,
        batches=_batches(2000 / ms) if scenario == "offline" else (),
        cold=ColdStart(5, 180.5, 61.25, 1.5, around(ms * 330, 0.05))
        if scenario == "cold"
        else None,
        energy=None,
        evaluation=evaluation(0.951 if "int8" in artifact else 0.953),
        images=5393,
        changed_labels=0.0045 if "int8" in artifact else 0.0,
        relative=around(ms / 0.9, 0.012),
        flags=(),
    )
    return dataclasses.replace(made, **changes)


def _batches(best: float) -> tuple[BatchRate, ...]:
    shares = {1: 0.6, 2: 0.75, 4: 0.88, 8: 0.96, 16: 1.0, 32: 0.97}
    return tuple(BatchRate(size, best * share) for size, share in shares.items())


def rows_of(artifact: str, ms: float, **changes: Any) -> list[Row]:
    """An artifact in the three usual scenarios."""
    scenarios: tuple[Scenario, ...] = ("single_stream", "offline", "cold")
    return [row(artifact, scenario, ms=ms, **changes) for scenario in scenarios]


def benchmark(rows: Sequence[Row] | None = None, **changes: Any) -> Benchmark:
    """A whole result: two artifacts in three scenarios, the second one flagged, unless given."""
    if rows is None:
        load = (Flag("load", "other processes took 43 % of the CPUs"),)
        rows = [*rows_of(TFLITE, 0.75), *rows_of(ONNX, 0.5, flags=load)]
    made = Benchmark(
        system=system(),
        time="2026-11-22T10:00:00+00:00",
        plan=Plan(),
        images="held-out",
        rows=tuple(rows),
        ratios=_ratios(rows),
        skipped=(),
        reference_ms=around(0.9, 0.004),
        energy_note="not measured: this machine has no meter that edgecell knows",
    )
    return dataclasses.replace(made, **changes)


def compared() -> Benchmark:
    """Two artifacts of one name, of which the first is old and the second slower."""
    rows = [row(target=Target(f"{side}/{TFLITE}")) for side in ("old", "new")]
    found = benchmark(rows, ratios=(Ratio(1, 0, around(1.2)),))
    slower = ComparedRow(
        row=1,
        artifact=TFLITE,
        engine="litert 2.3.0",
        threads=2,
        scenario="single_stream",
        stage="model",
        ratio=Estimate(1.2, 1.164, 1.237),
        verdict="slower",
        failing=True,
        undecided=False,
        same_file=False,
        flags=(),
    )
    comparison = Comparison("interleaved", 1.0, 0.95, (f"old/{TFLITE}",), (slower,), (), ())
    return dataclasses.replace(found, comparison=comparison)


def skipped(artifact: str = "broken.onnx") -> Skipped:
    return Skipped(Target(artifact), "The engine's process ended with status -9.")


def system(**changes: Any) -> SystemInfo:
    found = dataclasses.replace(
        describe_system(),
        processor="Test Processor 3000",
        cpu_flags=("avx2",),
        host_cpus=4,
        allowed_cpus=2,
        memory_bytes=8 << 30,
        os="Linux 6.1.0 x86_64",
        python="CPython 3.11.2",
        versions={"edgecell": "0.1.0", "numpy": "2.4.6"},
    )
    return dataclasses.replace(found, **changes)


def _ratios(rows: Sequence[Row]) -> tuple[Ratio, ...]:
    first: dict[str, int] = {}
    found = []
    for index, one in enumerate(rows):
        base = first.setdefault(one.scenario, index)
        if base != index and one.relative and rows[base].relative:
            found.append(Ratio(index, base, around(one.relative.value / rows[base].relative.value)))
    return tuple(found)
