"""The measuring loop: how long one query takes, how much memory the process took at most."""

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_OWN_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MeasurementPlan:
    """How long to measure.

    Measuring goes on until there are both ``min_queries`` and ``min_seconds``, but ends after
    ``max_seconds`` in any case; one query is always measured.

    Attributes:
        min_queries: A 99th percentile over 1,024 queries rests on ten of them.
        min_seconds: Long enough for the processor to leave its idle frequency.
        max_seconds: Ends the measuring of a slow model, and its warm-up, each at the latest.
        warmup_queries: Run first and not counted.
    """

    min_queries: int = 1024
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    warmup_queries: int = 50

    def __post_init__(self) -> None:
        if self.min_queries < 1 or self.warmup_queries < 0:
            raise ValueError("at least one query is measured, and none or more warm up.")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise ValueError("min_seconds is 0 or more, and at most max_seconds.")


@dataclass(frozen=True)
class LatencyStats:
    """How long queries took.

    The percentiles are nearest ranks: the p-th is the smallest measured time that at least p % of
    the queries did not exceed (NumPy's ``inverted_cdf``). Nothing is interpolated, so each is the
    time of a query that ran; the median of an even number is the lower of the middle two.

    Attributes:
        count: Number of measured queries.
        median_ms: 50th percentile, milliseconds.
        p90_ms: 90th percentile, milliseconds.
        p99_ms: 99th percentile, milliseconds.
        minimum_ms: The fastest query, milliseconds.
        mean_ms: The mean, milliseconds; one stall can move it, so it is never shown alone.
    """

    count: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    minimum_ms: float
    mean_ms: float

    @staticmethod
    def from_nanoseconds(durations: NDArray[np.int64]) -> "LatencyStats":
        """Summarises measured times.

        Args:
            durations: int64 (queries,), nanoseconds.

        Raises:
            ValueError: There is no measured time.
        """
        if durations.ndim != 1 or durations.size == 0:
            raise ValueError(
                f"the times have the shape {durations.shape}; expected (queries,) with at least 1."
            )
        median, p90, p99 = np.percentile(durations, (50, 90, 99), method="inverted_cdf") / 1e6
        return LatencyStats(
            count=durations.size,
            median_ms=float(median),
            p90_ms=float(p90),
            p99_ms=float(p99),
            minimum_ms=float(durations.min() / 1e6),
            mean_ms=float(durations.mean() / 1e6),
        )


@dataclass(frozen=True)
class BenchmarkResult:
    """How fast, how big and how right one artifact is on one machine.

    Attributes:
        artifact: The artifact's file name.
        format: Such as ``tflite``.
        recipe: How numbers are stored, such as ``float32``.
        engine: The inference library that ran it.
        threads: Threads that the engine was given.
        size_bytes: Of the file; of a folder, its files together.
        load_ms: From the path to a session that is ready, milliseconds.
        latency: Of one query, a batch of one, graph alone, after the warm-up.
        images_per_second: From image file to label, reading and preprocessing included; None
            where no image files were given.
        peak_memory_bytes: Most memory that the process held; None where the system does not say.
        n: Number of images behind the figures below.
        accuracy: Share of right labels; None without labelled images.
        sensitivity: Share of positives found at the threshold; None without a positive label, or
            without a positive image.
        specificity: Share of negatives left alone at the threshold; None likewise.
        auc: Area under the ROC curve; None likewise.
        skipped: Images that could not be read.
        loosened: Whether its limits of parity were widened by hand.
    """

    artifact: str
    format: str
    recipe: str
    engine: str
    threads: int
    size_bytes: int
    load_ms: float
    latency: LatencyStats
    images_per_second: float | None
    peak_memory_bytes: int | None
    n: int
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    auc: float | None
    skipped: int = 0
    loosened: bool = False

    @property
    def title(self) -> str:
        """The artifact's name, marked where it was loosened."""
        return f"{self.artifact} (loosened)" if self.loosened else self.artifact


def measure_latency(
    call: Callable[[int], object],
    *,
    plan: MeasurementPlan,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> NDArray[np.int64]:
    """Runs queries one after another and times each alone.

    Args:
        call: Runs query i, counted from 0; the warm-up counts from 0 on its own. What is not to be
            timed, such as reading the image, is done before.
        plan: How long to measure.
        clock: Nanoseconds that never run backwards.

    Returns:
        int64 (queries,), the time of each measured query in nanoseconds, in the order of running.
    """
    max_nanoseconds = round(plan.max_seconds * 1e9)
    min_nanoseconds = round(plan.min_seconds * 1e9)
    began = clock()
    for query in range(plan.warmup_queries):
        call(query)
        if clock() - began >= max_nanoseconds:
            break
    durations = array("q")  # eight bytes a query, so that the loop does not raise the peak memory
    query = 0
    began = clock()
    while True:
        start = clock()
        call(query)
        end = clock()
        durations.append(end - start)
        query += 1
        elapsed = end - began
        enough = query >= plan.min_queries and elapsed >= min_nanoseconds
        if enough or elapsed >= max_nanoseconds:
            return np.array(durations, dtype=np.int64)


def peak_memory_bytes(status: Path = _OWN_STATUS) -> int | None:
    """The most physical memory that this process held at once, from Linux's ``VmHWM``.

    ``ru_maxrss`` would not do: a child's starts at the size of its parent at the fork, and stays
    there.

    Args:
        status: The file in which the kernel says so.

    Returns:
        Bytes; None where the file or the line is absent or malformed.
    """
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        match line.split():
            case ["VmHWM:", size, "kB"] if size.isdecimal():
                return int(size) * 1024
    return None
