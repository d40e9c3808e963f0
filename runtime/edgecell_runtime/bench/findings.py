"""What was measured of one target in one scenario, before it becomes a row."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench import conditions
from edgecell_runtime.bench.latency import Turn
from edgecell_runtime.bench.messages import Opened
from edgecell_runtime.bench.plan import Scenario
from edgecell_runtime.bench.results import BatchRate, Energy
from edgecell_runtime.records import dataclass

REFERENCE = -1
"""Stands for the reference kernel where a target's number is asked for."""


@dataclass(frozen=True)
class ColdTime:
    """One new process, in milliseconds; see ``results.ColdStart``."""

    round: int
    import_ms: float
    load_ms: float
    first_ms: float
    total_ms: float


@dataclasses.dataclass
class Record:
    """What was measured of one target in one scenario.

    Attributes:
        target: Its number in the job, or ``REFERENCE``.
        scenario: Which.
        batch: Images of a query.
        turns: Its blocks.
        seconds: Of the blocks, by process.
        missed_ticks: Of all blocks.
        warmup_queries: Of the longest warm-up.
        unsteady: How many warm-ups ended before the times were steady.
        peak_memory_bytes: The largest of the processes' peaks.
        threads_seen: The most that were seen to work in a process.
        batches: What ``offline`` tried.
        disturbances: Snapshots before and after each block.
        cold: Its new processes.
        energy: Of a query.
        answers: float64 (images, labels), NaN where not asked; None until they are there.
    """

    target: int
    scenario: Scenario
    batch: int = 1
    turns: list[Turn] = dataclasses.field(default_factory=list)
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    missed_ticks: int = 0
    warmup_queries: int = 0
    unsteady: int = 0
    peak_memory_bytes: int | None = None
    threads_seen: int = 0
    batches: tuple[BatchRate, ...] = ()
    disturbances: list[conditions.Pair] = dataclasses.field(default_factory=list)
    cold: list[ColdTime] = dataclasses.field(default_factory=list)
    energy: Energy | None = None
    answers: NDArray[np.float64] | None = None

    def images_in(self, process: int) -> int:
        """How many images a process was asked for, repeated ones counted again."""
        turns = [turn for turn in self.turns if turn.process == process]
        return sum(turn.images * turn.durations.size for turn in turns)

    def take_warm_up(self, of: "Record") -> None:
        """Notes the warm-up that a process had before all scenarios."""
        self.warmup_queries = max(self.warmup_queries, of.warmup_queries)
        self.unsteady += of.unsteady
        self.peak_memory_bytes = largest(self.peak_memory_bytes, of.peak_memory_bytes)

    def drop(self, process: int) -> None:
        """Forgets the blocks of a process that failed."""
        self.turns = [turn for turn in self.turns if turn.process != process]
        self.seconds.pop(process, None)

    def add_answers(self, found: NDArray[np.float64]) -> None:
        """Adds a process's answers; of an image that was answered before, the first stays."""
        if self.answers is None:
            self.answers = found
        else:
            self.answers = np.where(np.isnan(self.answers), found, self.answers)


@dataclass(frozen=True)
class Described:
    """What an artifact says of itself, and how its processes started.

    Attributes:
        sha256: As in ``results.Row``; so are the next ones.
        format: See above.
        recipe: See above.
        size_bytes: See above.
        loosened: See above.
        labels: How many.
        opened: What each process said that was measured for longer.
        cold: What each process said that was started for its first answer.
    """

    sha256: str
    format: str
    recipe: str
    size_bytes: int
    loosened: bool
    labels: int
    opened: list[Opened]
    cold: list[Opened]


@dataclasses.dataclass
class Findings:
    """All that was measured.

    Attributes:
        described: By target.
        records: By scenario, then by target, the reference kernel's included.
        lost: The reason, by target that had to be left out.
        energy_note: As of ``results.Benchmark``.
    """

    described: dict[int, Described]
    records: dict[Scenario, dict[int, Record]]
    lost: dict[int, str]
    energy_note: str


def asked_images(answers: NDArray[np.float64] | None) -> int:
    """How many different images were answered."""
    return 0 if answers is None else int((~np.isnan(answers)).any(axis=1).sum())


def largest(one: int | None, other: int | None) -> int | None:
    """The larger of two; one that is not known does not count."""
    return max((size for size in (one, other) if size is not None), default=None)


def median_of(values: Sequence[float]) -> float:
    """The median of single values, nearest rank."""
    return float(np.percentile(values, 50, method="inverted_cdf"))
