"""What a benchmark measures: targets, scenarios, and how long."""

import math
from typing import Final, Literal, get_args

from edgecell_runtime.records import dataclass

Scenario = Literal["single_stream", "offline", "paced", "cold"]
"""After MLPerf Inference (Reddi et al. 2020, arXiv:1911.02549).

- ``single_stream``: one query, a batch of one, after another.
- ``offline``: all images there from the beginning, at the best batch.
- ``paced``: a query at every tick of a camera; between two, processors fall asleep.
- ``cold``: a new process each: start, import, load, first answer.
"""

Stage = Literal["model", "pipeline"]
"""``model``: preprocessed pixels to logits. ``pipeline``: an image file's bytes to a label."""

SCENARIOS: Final[tuple[Scenario, ...]] = get_args(Scenario)


PACED_TICKS: Final = 10
"""Of a block of ``paced``, where as many queries are asked for: in fewer, the first query after the
others' turns would weigh too much."""


@dataclass(frozen=True)
class Plan:
    """How long to measure, and what.

    A scenario of a target goes on until it has both ``min_queries`` and ``min_seconds``, but ends
    after ``max_seconds`` in any case; one query is always measured.

    Attributes:
        scenarios: In this order.
        stage: What of a query is timed.
        min_queries: A 99th percentile over 1,024 queries rests on ten of them.
        min_seconds: Of measured time, for each target and scenario.
        max_seconds: Ends a slow model's, and its warm-up, each at the latest.
        block_seconds: A target's turn; then it is another one's, in an order drawn anew each round.
        rate_hz: Of ``paced``.
        batches: That ``offline`` tries, shortly; the best one is measured in full.
        cold_starts: Processes of ``cold``.
        processes: Of each target, one after another, which share the queries and seconds above:
            where a process's memory happens to lie makes it faster or slower than the next.
        seed: Of the orders of targets and images, and of the bootstrap.
    """

    scenarios: tuple[Scenario, ...] = ("single_stream", "offline", "cold")
    stage: Stage = "model"
    min_queries: int = 1024
    min_seconds: float = 3.0
    max_seconds: float = 30.0
    block_seconds: float = 0.1
    rate_hz: float = 30.0
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    cold_starts: int = 5
    processes: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.min_queries, self.cold_starts, self.processes, *self.batches, 1) < 1:
            raise ValueError("queries, batches, cold starts and processes are 1 or more.")
        if not 0 <= self.min_seconds <= self.max_seconds or not self.max_seconds > 0:
            raise ValueError("min_seconds is 0 or more, and max_seconds as much and above 0.")
        if not (self.block_seconds > 0 and self.rate_hz > 0 and self.scenarios and self.batches):
            raise ValueError(
                "block_seconds and rate_hz are above 0, and there is a scenario and a batch."
            )

    @property
    def queries_a_process(self) -> int:
        """A process's share of ``min_queries``."""
        return -(-self.min_queries // self.processes)

    @property
    def paced_block_seconds(self) -> float:
        """A target's turn in ``paced``."""
        return max(self.block_seconds, min(PACED_TICKS, self.queries_a_process) / self.rate_hz)

    @property
    def paced_seconds(self) -> float:
        """What ``paced`` takes for a target by its ticks, ``max_seconds`` aside; whole blocks."""
        least = max(self.queries_a_process / self.rate_hz, self.min_seconds / self.processes)
        blocks = math.ceil(least / self.paced_block_seconds)
        return self.processes * blocks * self.paced_block_seconds


MLPERF_SECONDS: Final = 60.0
"""Of measured queries, as MLPerf's single stream has it; ``--mlperf`` takes it for
``min_seconds``. Warm-up and loading come on top."""


@dataclass(frozen=True)
class Target:
    """One artifact on one engine with a number of threads.

    Attributes:
        artifact: Path of the artifact.
        engine: Name; empty takes the first that is proved.
        threads: 0 takes the CPUs that the process may use.
        cpus: That the process is pinned to; empty pins it to none.
    """

    artifact: str
    engine: str = ""
    threads: int = 0
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Query:
    """An image to be asked for.

    Attributes:
        name: In its set.
        label: Its class; empty where it is not known.
        patient: Who it comes from; empty where that is not known.
    """

    name: str
    label: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Job:
    """All that the measuring needs, on this machine or another; it and its files travel as a whole.

    Attributes:
        targets: What to measure.
        plan: How.
        queries: The images, one a row of ``inputs``.
        inputs: Folder of the inputs, relative to the job's file: ``SHAPE.npy``, uint8 (n, height,
            width, channels), for each shape that an artifact takes (``64x64x3.npy``), and
            ``files/``, the image files themselves by row number, where the stage is ``pipeline``.
        kind: What the images are: ``held-out``, ``known`` to a model that was trained on them,
            ``given``, ``drawn`` or ``golden``.
        reference: Whether the reference kernel takes part as one more target.
        power_command: Prints watts, for a meter that the system does not know; empty for none.
    """

    targets: tuple[Target, ...]
    plan: Plan
    queries: tuple[Query, ...]
    inputs: str
    kind: Literal["held-out", "known", "given", "drawn", "golden"]
    reference: bool = True
    power_command: str = ""
