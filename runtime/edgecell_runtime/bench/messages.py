"""What the measuring process and its workers say to each other: JSON lines, one a record."""

from typing import Literal

from edgecell_runtime.bench.plan import Scenario, Stage, Target
from edgecell_runtime.records import dataclass


@dataclass(frozen=True)
class Opening:
    """The first line that a worker reads: what it measures.

    Attributes:
        target: None for the reference kernel.
        stage: What of a query is timed.
        inputs: Folder of the inputs; see ``plan.Job``.
        images: How many there are.
        seed: Of their order, which is the same for all targets.
        first_image: Where in that order the measured queries begin.
    """

    target: Target | None
    stage: Stage
    inputs: str
    images: int
    seed: int
    first_image: int = 0


@dataclass(frozen=True)
class Command:
    """One thing to do.

    Attributes:
        action: ``warm``: run queries until they are steady. ``try``: measure, and keep no answer.
            ``measure``: measure, and keep the answers. ``work``: run queries and nothing else, for
            a meter. ``save``: write the answers to ``path``, and forget them.
        scenario: Which.
        batch: Images of a query.
        seconds: How long at most.
        queries: How many at most.
        rate_hz: Of ``paced``.
        path: See ``action``.
    """

    action: Literal["warm", "try", "measure", "work", "save"]
    scenario: Scenario = "single_stream"
    batch: int = 1
    seconds: float = 0.0
    queries: int = 1 << 30
    rate_hz: float = 1.0
    path: str = ""


@dataclass(frozen=True)
class Opened:
    """A target that is ready, after its first answer.

    Attributes:
        engine: With its version.
        threads: That it was given.
        load_ms: From the path to a session that is ready.
        first_ms: The first answer.
        since_import_ms: From the moment the engine's library was there to this record.
    """

    engine: str = ""
    threads: int = 1
    load_ms: float = 0.0
    first_ms: float = 0.0
    since_import_ms: float = 0.0


@dataclass(frozen=True)
class Warmed:
    """Queries that were not timed each.

    Attributes:
        queries: That were run.
        steady: Whether the times had become steady; see ``steadiness``.
        peak_memory_bytes: The most that the process has held until now; None where the system does
            not say.
    """

    queries: int
    steady: bool
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Measured:
    """A block.

    Attributes:
        durations: Nanoseconds.
        elapsed_ns: Of the whole block.
        missed_ticks: Of a paced one.
    """

    durations: tuple[int, ...]
    elapsed_ns: int
    missed_ticks: int = 0


@dataclass(frozen=True)
class Reply:
    """A line that a worker writes; one of these.

    Attributes:
        step: ``saved``: the answers are written.
        opened: Follows an ``Opening``.
        warmed: Follows ``warm`` and ``work``.
        measured: Follows ``try`` and ``measure``.
        failed: Why it gave up; it has ended.
    """

    step: Literal["", "saved"] = ""
    opened: Opened | None = None
    warmed: Warmed | None = None
    measured: Measured | None = None
    failed: str = ""
