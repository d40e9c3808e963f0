"""What a benchmark found: the types behind its JSON file."""

from collections.abc import Mapping
from typing import Literal

from edgecell_runtime.bench.plan import Plan, Scenario, Stage, Target
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.records import dataclass
from edgecell_runtime.system import SystemInfo


@dataclass(frozen=True)
class Estimate:
    """What was measured, with its 95 % interval.

    Attributes:
        value: From all that was measured.
        low: Lower end of the interval; None where there were too few blocks for one.
        high: Upper end; None likewise.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Latency:
    """How long queries took, in milliseconds.

    Percentiles are nearest ranks, times of queries that ran; nothing is interpolated and no outlier
    left out.

    Attributes:
        count: Measured queries.
        median_ms: With its 95 % bootstrap interval over blocks.
        p90_ms: 90th percentile; None where another tool measured that does not say it.
        p99_ms: 99th percentile; None likewise.
        p999_ms: 99.9th percentile; None below 1,000 queries.
        minimum_ms: The fastest.
        mean_ms: One stall can move it; never shown alone.
        histogram: Counts in bins of equal width in log10(ms), from ``histogram_from`` on.
        histogram_from: log10 of the lower end of the first bin.
        histogram_step: Width of a bin in log10.
    """

    count: int
    median_ms: Estimate
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    minimum_ms: float
    mean_ms: float
    histogram: tuple[int, ...] = ()
    histogram_from: float = 0.0
    histogram_step: float = 0.02


Condition = Literal[
    "throttled", "frequency", "load", "quota", "unsteady", "short", "governor", "missed_ticks"
]
"""What can make a row's figures doubtful."""


@dataclass(frozen=True)
class Flag:
    """Something that disturbed a row, with what was seen.

    Attributes:
        condition: What.
        words: One clause with its numbers, such as ``other processes took 43 % of the CPUs``.
    """

    condition: Condition
    words: str


@dataclass(frozen=True)
class Energy:
    """Energy of a query.

    Attributes:
        method: How it was measured, such as ``RAPL package-0``.
        idle_watts: Before, subtracted.
        watts: While measuring, idle subtracted.
        millijoules: A query, idle subtracted.
    """

    method: str
    idle_watts: float
    watts: float
    millijoules: float


@dataclass(frozen=True)
class BatchRate:
    """Throughput of ``offline`` at one batch size."""

    batch: int
    images_per_second: float


@dataclass(frozen=True)
class ColdStart:
    """Medians over the new processes, in milliseconds.

    Attributes:
        processes: How many.
        import_ms: From the process's start until the engine is imported.
        load_ms: From the path to a session that is ready, its proof included.
        first_ms: The first answer.
        total_ms: From before the process was started to the first answer, with its interval.
    """

    processes: int
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: Estimate


@dataclass(frozen=True)
class Row:
    """One target in one scenario.

    Attributes:
        target: As asked for.
        artifact: Its file name.
        sha256: Of the artifact.
        format: Such as ``tflite``.
        recipe: How its numbers are stored.
        engine: That ran it, with its version.
        threads: That the engine was given, and as many as were seen to run (0 where unknown).
        threads_seen: See above.
        scenario: Which.
        stage: What of a query was timed.
        size_bytes: Of the file.
        load_ms: From the path to a session that is ready.
        peak_memory_bytes: Of a process that does nothing else; None where the system does not say.
        macs: Multiply-accumulates of a query; None where unknown.
        operators: Their number by kind and dtype, such as ``CONV_2D int8``.
        warmup_queries: That were run until the times were steady.
        latency: Of single stream and paced; of the batches of offline; None for cold.
        images_per_second: Of offline, with its interval; else None.
        batches: What offline tried.
        cold: Of cold; else None.
        energy: None where it was not measured.
        evaluation: From the same answers that were timed; None without labels.
        images: How many different images were asked for.
        changed_labels: Share of images whose label is not the source model's; None where unknown.
        relative: Tenth percentile of the time an image took (cold: median of the total) over the
            reference kernel's, interleaved in the same run; None without.
        flags: What disturbed it.
        loosened: Whether the artifact's limits of parity were widened by hand.
    """

    target: Target
    artifact: str
    sha256: str
    format: str
    recipe: str
    engine: str
    threads: int
    threads_seen: int
    scenario: Scenario
    stage: Stage
    size_bytes: int
    load_ms: float
    peak_memory_bytes: int | None
    macs: int | None
    operators: Mapping[str, int]
    warmup_queries: int
    latency: Latency | None
    images_per_second: Estimate | None
    batches: tuple[BatchRate, ...]
    cold: ColdStart | None
    energy: Energy | None
    evaluation: Evaluation | None
    images: int
    changed_labels: float | None
    relative: Estimate | None
    flags: tuple[Flag, ...]
    loosened: bool = False


@dataclass(frozen=True)
class Ratio:
    """One row's time over the first row's of the same scenario, from the same rounds."""

    row: int
    base: int
    ratio: Estimate


@dataclass(frozen=True)
class Skipped:
    """A target that could not be measured."""

    target: Target
    reason: str


Verdict = Literal["slower", "faster", "neither", "undecided"]
"""Whether an interval lies above 1, below 1, has 1 in it, or is none."""


@dataclass(frozen=True)
class Unmatched:
    """A row that was not compared.

    Attributes:
        row: Its artifact, engine, threads and scenario.
        reason: Why not.
    """

    row: str
    reason: str


@dataclass(frozen=True)
class ComparedRow:
    """One row of both results.

    Attributes:
        row: Its place among the result's rows.
        artifact: Its file name in the new result.
        engine: That ran it, with its version.
        threads: That the engine was given.
        scenario: Which.
        stage: What was timed.
        ratio: New time over old time with the interval that the verdict is by.
        verdict: See there.
        failing: Whether it is slower, and its ratio above what is allowed.
        undecided: Whether it does not fail, but the interval reaches above the comparison's limit.
        same_file: Whether both are the same bytes.
        flags: What disturbed either measurement.
    """

    row: int
    artifact: str
    engine: str
    threads: int
    scenario: Scenario
    stage: Stage
    ratio: Estimate
    verdict: Verdict
    failing: bool
    undecided: bool
    same_file: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """New rows against old ones.

    Attributes:
        method: ``interleaved`` in one run, or ``reference``: relative to the reference kernel.
        fail_above: A row fails that is slower, and whose ratio is above this.
        confidence: Of the intervals, for all rows together.
        old: Artifacts of this result that count as old, as their targets name them; empty where
            the old result is another file.
        rows: Those that both sides have.
        unmatched: Those that could not be compared, with the reason.
        notes: What else differs.
    """

    method: Literal["interleaved", "reference"]
    fail_above: float
    confidence: float
    old: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    unmatched: tuple[Unmatched, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """The whole result, the JSON file; its schema is published.

    Attributes:
        system: The machine.
        time: When it ended, ISO 8601, UTC.
        plan: As asked for.
        images: What kind they were.
        rows: One a target and scenario.
        ratios: Of rows of one scenario to its first.
        skipped: What could not be measured.
        reference_ms: The reference kernel's median; None without.
        energy_note: How energy was measured, or why not.
        reference_note: What became of the reference kernel; empty where nothing did.
        comparison: With old artifacts or an old result; None where there is none.
        schema_version: 1.
    """

    system: SystemInfo
    time: str
    plan: Plan
    images: str
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    skipped: tuple[Skipped, ...]
    reference_ms: Estimate | None
    energy_note: str
    reference_note: str = ""
    comparison: Comparison | None = None
    schema_version: Literal[1] = 1
