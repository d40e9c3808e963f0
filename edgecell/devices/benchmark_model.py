"""LiteRT's ``benchmark_model``: what it is called with, what it prints, and the rows of a result.

It measures one model with random input in a process of its own, and says a count, a minimum, a mean
and, in newer builds, a median and a 95th percentile in whole microseconds; its times
one by one are not to be had. So each target is measured in several processes, in turns and in an
order drawn anew each round; the median is the median of theirs, and its interval comes from a
bootstrap over them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell.devices.base import DeviceError
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.bench.plan import Plan, Target
from edgecell_runtime.bench.results import Estimate, Latency, Ratio, Row
from edgecell_runtime.printable import printable_name

ROUNDS: Final = 8
"""Processes of each target."""

WARMUP_SECONDS: Final = 0.5
_DRAWS: Final = 2000
_TO_MS: Final = 1e-3

_COUNTED: Final = re.compile(r"^.*?\bcount=(\d+)\b(.*)$", re.MULTILINE)
_VALUE: Final = re.compile(r"\b(first|curr|min|max|avg|std|p5|median|p95)=([0-9.eE+-]+)")
_LOADED: Final = re.compile(r"Initialized session in ([0-9.eE+-]+) ?ms")


@dataclass(frozen=True)
class Turn:
    """What one process of the tool said.

    Attributes:
        warmup: Queries before the measured ones.
        count: Measured queries.
        median_ms: Of their times.
        minimum_ms: The fastest.
        mean_ms: Of their times.
        load_ms: From the path to a session that is ready.
    """

    warmup: int
    count: int
    median_ms: float
    minimum_ms: float
    mean_ms: float
    load_ms: float


def arguments_of(plan: Plan, graph: str, threads: int) -> list[str]:
    """The tool's arguments for one turn."""
    seconds = plan.min_seconds / ROUNDS
    return [
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--num_runs={math.ceil(plan.min_queries / ROUNDS)}",
        f"--min_secs={seconds:g}",
        f"--max_secs={max(plan.max_seconds / ROUNDS, seconds):g}",
        f"--warmup_min_secs={WARMUP_SECONDS:g}",
    ]


def parse_turn(text: str, where: str) -> Turn:
    """Reads what one process printed.

    Args:
        text: Its output and its errors.
        where: The device and the artifact, for messages.

    Raises:
        DeviceError: It measured nothing, or is too old to say a median.
    """
    counted: list[tuple[int, dict[str, str]]] = [
        (int(count), dict(_VALUE.findall(rest))) for count, rest in _COUNTED.findall(text)
    ]
    loaded = _LOADED.search(text)
    if len(counted) < 2 or loaded is None:  # the warm-up's line, then the measured one's
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = lines or ["it printed nothing"]
        last = next((line for line in reversed(said) if "ERROR" in line), said[-1])
        last = printable_name(last)[:300].rstrip(".")
        raise DeviceError(
            f"benchmark_model measured nothing on {where}: {last}. Run it there by hand with that "
            "artifact."
        )
    warmup, (count, values) = counted[-2][0], counted[-1]
    same = values.get("curr", "nan")  # all that it says where every query took as long
    if "median" not in values and "avg" in values:
        raise DeviceError(
            f"benchmark_model on {where} says a mean and no median, which one stall can move. Take "
            "a newer build, one that prints median=, with --benchmark-model."
        )
    try:
        return Turn(
            warmup=warmup,
            count=count,
            median_ms=float(values.get("median", same)) * _TO_MS,
            minimum_ms=float(values.get("min", same)) * _TO_MS,
            mean_ms=float(values.get("avg", same)) * _TO_MS,
            load_ms=float(loaded[1]),
        )
    except ValueError as error:
        raise DeviceError(f"benchmark_model printed no numbers on {where}: {error}.") from error


def row_of(
    target: Target, artifact: Artifact, threads: int, turns: Sequence[Turn], seed: int
) -> Row:
    """A target's turns as a row."""
    medians = np.array([turn.median_ms for turn in turns])
    counts = np.array([turn.count for turn in turns])
    means = np.array([turn.mean_ms for turn in turns])
    latency = Latency(
        count=int(counts.sum()),
        median_ms=_median(medians, seed),
        p90_ms=None,
        p99_ms=None,
        p999_ms=None,
        minimum_ms=min(turn.minimum_ms for turn in turns),
        mean_ms=float((means * counts).sum() / counts.sum()),
    )
    return Row(
        target=target,
        artifact=artifact.path.name,
        sha256=artifact.digest,
        format=artifact.format,
        recipe=artifact.manifest.recipe,
        engine="LiteRT benchmark_model",
        threads=threads,
        threads_seen=0,
        scenario="single_stream",
        stage="model",
        size_bytes=artifact.size_bytes,
        load_ms=float(np.median([turn.load_ms for turn in turns])),
        peak_memory_bytes=None,
        macs=None,
        operators={},
        warmup_queries=round(float(np.median([turn.warmup for turn in turns]))),
        latency=latency,
        images_per_second=None,
        batches=(),
        cold=None,
        energy=None,
        evaluation=None,
        images=0,
        changed_labels=None,
        relative=None,
        flags=(),
        loosened=artifact.manifest.loosened,
    )


def ratios_of(turns: Sequence[Sequence[Turn]], seed: int) -> tuple[Ratio, ...]:
    """Each row's median over the first row's, round by round."""
    medians = np.array([[turn.median_ms for turn in row] for row in turns])
    return tuple(
        Ratio(row, 0, _median(medians[row] / medians[0], seed)) for row in range(1, len(medians))
    )


def _median(values: NDArray[np.float64], seed: int) -> Estimate:
    drawn = np.random.default_rng(seed).choice(values, (_DRAWS, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return Estimate(float(np.median(values)), float(low), float(high))
