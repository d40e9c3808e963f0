"""Measured times in a few numbers; the most memory that a process took."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_OWN_STATUS = Path("/proc/self/status")


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
