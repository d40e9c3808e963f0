"""The result of comparing conversions: one row a file and engine, for machines and for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import scoring
from converting import Cost
from turns import TurnPlan

from edgecell import console
from edgecell_runtime.manifest import Figure
from edgecell_runtime.measure import LatencyStats

_NOTES: Final = (
    "Timed: one run of the graph on an input that has its form already, all rows by turns in one "
    "process without TensorFlow, one pass for each number of threads and batch size. Ratio: of "
    "medians, to edgecell's file of the same engine and recipe, with a 95 % bootstrap interval "
    "over rounds; above 1 is slower than edgecell. A dash: the file has a fixed batch of 1. Nodes: "
    "operators in the file, before an engine optimises it. Answers are compared with those that "
    "the Keras model gave when it was trained, one image at a time; intervals over patients. "
    "Seconds and memory: of the whole conversion in processes of its own, from the interpreter's "
    "start, with the imports (TensorFlow's included), the loading of the model, and the steps that "
    "it starts from; edgecell's include reading the calibration images and comparing the answers. "
    "Memory is the process's own VmHWM, or where it starts processes, as edgecell does, the most "
    "that all together were seen to hold (Pss, every 0.1 s)."
)


@dataclass(frozen=True)
class Timing:
    """How fast a file is at one batch size with one number of threads.

    Attributes:
        threads: That the engine was given.
        batch: Images a query.
        latency: Of a query, the graph alone; None where the file does not take the batch.
        ratio: Of the median to that of edgecell's file; None where there is none to compare.
        failure: Why there is no latency.
    """

    threads: int
    batch: int
    latency: LatencyStats | None
    ratio: Figure | None = None
    failure: str = ""


@dataclass(frozen=True)
class Answers:
    """How a file's answers compare with the Keras model's on all unseen images.

    Attributes:
        accuracy: A fraction.
        accuracy_change: Against the Keras model, a fraction, with its interval over patients.
        changed_labels: Images with another label.
        largest_difference: Of a probability.
        mean_difference: Mean over images of the largest difference over labels.
        undecided: Images whose two highest probabilities are equal; the first label counts.
    """

    accuracy: float
    accuracy_change: Figure
    changed_labels: int
    largest_difference: float
    mean_difference: float
    undecided: int


@dataclass(frozen=True)
class PeerRow:
    """What came out for one file in one engine.

    Attributes:
        file: Its name.
        tool: What made it.
        engine: What ran it.
        recipe: How it stores numbers.
        calibration: Images that set its ranges; 0 for none.
        nodes: Operators in the file; 0 where there is none.
        size_bytes: Of the file; 0 where there is none.
        cost: Of the conversion; None where it failed.
        timings: In the order of ``Settings``; empty where nothing could be run.
        answers: None where nothing could be run.
        failure: Why there are no figures; empty where there are.
    """

    file: str
    tool: str
    engine: str
    recipe: str
    calibration: int
    nodes: int = 0
    size_bytes: int = 0
    cost: Cost | None = None
    timings: tuple[Timing, ...] = ()
    answers: Answers | None = None
    failure: str = ""


@dataclass(frozen=True)
class Setting:
    """One pass of measuring."""

    threads: int
    batch: int

    @property
    def words(self) -> str:
        """As a column's name."""
        return f"batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class PeerComparison:
    """The whole result.

    Attributes:
        circumstances: Machine, versions, command.
        run: Its folder's name.
        plan: How it was measured.
        settings: The passes.
        n: Unseen images.
        patients: That they come from.
        source_accuracy: Of the Keras model on them, a fraction.
        source_bytes: Size of the Keras file.
        loading: What a process takes that loads TensorFlow and the model, and nothing else.
        calibration: In words: the images that all tools calibrate with.
        rows: One a file and engine.
        left_out: Sentences on peers whose packages are not installed.
    """

    circumstances: scoring.Circumstances
    run: str
    plan: TurnPlan
    settings: tuple[Setting, ...]
    n: int
    patients: int
    source_accuracy: float
    source_bytes: int
    loading: Cost | None
    calibration: str
    rows: tuple[PeerRow, ...]
    left_out: tuple[str, ...]
    notes: str = _NOTES


def as_markdown(comparison: PeerComparison) -> str:
    """The table, and the lines below it."""
    title = (
        f"{comparison.run}: {comparison.n:,} unseen cells of {comparison.patients} patients, "
        f"{comparison.plan.rounds} rounds"
    )
    timing = (name for one in comparison.settings for name in (f"{one.words}: ms", "ratio"))
    columns = (
        *("engine", "recipe", "made by", "nodes", "bytes", *timing),
        *("largest difference", "labels changed", "accuracy %", "change, points"),
        *("calibration images", "seconds", "peak MB"),
    )
    cells = [_source_cells(comparison, len(columns))]
    cells += [_cells(row, len(columns)) for row in comparison.rows]
    failed = [
        f"Failed: {row.tool}, {row.recipe}, {row.engine}: {row.failure}"
        for row in comparison.rows
        if row.failure
    ]
    loading = f"{NOTHING_WORDS}: {_cost_words(comparison.loading)}."
    lines = [
        *failed,
        *comparison.left_out,
        comparison.calibration,
        loading,
        comparison.notes,
        comparison.circumstances.sentence(),
    ]
    table = console.markdown_table(console.Table(title, columns, cells))
    return table + "".join(f"\n{line}\n" for line in lines)


NOTHING_WORDS: Final = "A process that loads TensorFlow and the model and does nothing else takes"


def _cost_words(cost: Cost | None) -> str:
    if cost is None:
        return "an unknown time, since it failed"
    return f"{cost.seconds:.1f} s and {_megabytes(cost)} MB"


def _megabytes(cost: Cost) -> str:
    return "-" if cost.peak_memory_bytes is None else f"{cost.peak_memory_bytes / 1e6:.0f}"


def _source_cells(comparison: PeerComparison, width: int) -> tuple[str, ...]:
    end = ("0", "0", f"{comparison.source_accuracy * 100:.2f}", "0", "-", "-", "-")
    start = ("Keras", "float32", "the source model", "-", f"{comparison.source_bytes:,}")
    return (*start, *("-",) * (width - len(start) - len(end)), *end)


def _cells(row: PeerRow, width: int) -> tuple[str, ...]:
    start = (row.engine, row.recipe, row.tool)
    if row.answers is None or row.cost is None:
        return (*start, "failed", *("-",) * (width - len(start) - 1))
    answers = row.answers
    return (
        *start,
        f"{row.nodes}",
        f"{row.size_bytes:,}",
        *(cell for one in row.timings for cell in _timing_cells(one)),
        f"{answers.largest_difference:.1e}",
        f"{answers.changed_labels}",
        f"{answers.accuracy * 100:.2f}",
        scoring.points(answers.accuracy_change),
        f"{row.calibration or '-'}",
        f"{row.cost.seconds:.1f}",
        _megabytes(row.cost),
    )


def _timing_cells(timing: Timing) -> Sequence[str]:
    if timing.latency is None:
        return ("-", "-")
    ratio = timing.ratio
    words = "-" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return (f"{timing.latency.median_ms:.3f}", words)
