"""What ``predict`` shows: lines as answers come, one document or table at the end, a summary."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from edgecell.console import Table
from edgecell.tasks.answers import Answer, Answers, Skipped
from edgecell.tasks.result_rows import RowFormat, answer_document
from edgecell_runtime import codec
from edgecell_runtime.codec import Json


@dataclass(frozen=True)
class Setup:
    """What classifies.

    Attributes:
        model: The artifact.
        engine: What runs it.
        threads: Of each of its sessions.
        sessions: How many run side by side.
        labels: Of the artifact.
        positive_label: What a positive decision means, if anything.
        threshold: From which probability of it on.
    """

    model: str
    engine: str
    threads: int
    sessions: int
    labels: tuple[str, ...]
    positive_label: str | None
    threshold: float


@dataclass
class Tally:
    """What has come out so far.

    Attributes:
        labels: How many images got which label, the likeliest one.
        positive: How many were decided to be positive, at the threshold.
        skipped: How many could not be read.
        kept: How many of both stood in the log already.
    """

    labels: Counter[str] = field(default_factory=Counter)
    positive: int = 0
    skipped: int = 0
    kept: int = 0

    @property
    def images(self) -> int:
        """All of them."""
        return self.labels.total() + self.skipped

    def add(self, outcome: Answer | Skipped) -> None:
        """Counts one more."""
        if isinstance(outcome, Answer):
            self.labels[outcome.prediction.label] += 1
            self.positive += bool(outcome.prediction.positive)
        else:
            self.skipped += 1


class LinesForPeople:
    """One line an image, in columns, as they come.

    No table of rich: it folds long paths, and takes ten seconds for thirty thousand rows.
    """

    def __init__(self, stream: TextIO, setup: Setup, widest: int) -> None:
        """Prints nothing yet.

        Args:
            stream: Where to.
            setup: What classifies.
            widest: Characters of the longest name that is known yet; longer ones widen the column.
        """
        self._stream = stream
        decision = () if setup.positive_label is None else ("positive",)
        self._heads = ("image", "label", "probability", *decision)
        widths = (max(widest, len("image")), max(map(len, ("label", *setup.labels))))
        self._widths = [*widths, *map(len, self._heads[2:])]
        self._begun = False

    def show(self, outcome: Answer | Skipped) -> None:
        """Prints an answer; what was skipped is named on standard error."""
        if isinstance(outcome, Skipped):
            return
        row = words(outcome, f"{outcome.prediction.probability:.4f}")
        self._widths[0] = max(self._widths[0], len(row[0]))
        if not self._begun:
            self._begun = True
            self._print(self._heads)
        self._print(row)

    def _print(self, row: Sequence[str]) -> None:
        cells = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
        self._stream.write("  ".join(cells).rstrip() + "\n")
        self._stream.flush()


class LinesForMachines:
    """One JSON document a line, as they come."""

    def __init__(self, stream: TextIO, rows: RowFormat) -> None:
        self._stream = stream
        self._rows = rows

    def show(self, outcome: Answer | Skipped) -> None:
        """Prints an outcome."""
        self._stream.write(self._rows.row(outcome).decode())
        self._stream.flush()


class Held:
    """All outcomes, for what is written as a whole."""

    def __init__(self) -> None:
        self._answered: list[Answer] = []
        self._skipped: list[Skipped] = []

    def show(self, outcome: Answer | Skipped) -> None:
        """Keeps an outcome."""
        if isinstance(outcome, Answer):
            self._answered.append(outcome)
        else:
            self._skipped.append(outcome)

    @property
    def answers(self) -> Answers:
        """All of them."""
        return Answers(tuple(self._answered), tuple(self._skipped))


def document(setup: Setup, answers: Answers) -> Json:
    """The result for machines."""
    return {
        "model": setup.model,
        "engine": setup.engine,
        "threads": setup.threads,
        "sessions": setup.sessions,
        "predictions": [answer_document(answer) for answer in answers.answered],
        "skipped": codec.encode(answers.skipped),
    }


def table(setup: Setup, answers: Answers) -> Table:
    """One row an image, numbers with all their digits, for files."""
    positive = ("positive",) if setup.positive_label is not None else ()
    by_label = (f"p({label})" for label in setup.labels)
    rows = [
        (
            *words(answer, str(answer.prediction.probability)),
            *(str(answer.prediction.probabilities[label]) for label in setup.labels),
        )
        for answer in answers.answered
    ]
    return Table("", ("image", "label", "probability", *positive, *by_label), rows)


def summary(setup: Setup, tally: Tally) -> str:
    """How many images are positive, how many got which label, and what ran."""
    parts = [f"{tally.labels[label]:,} {label}" for label in setup.labels]
    if setup.positive_label is not None:
        decided = (
            f"{tally.positive:,} positive ({setup.positive_label} from {setup.threshold:.3g} on)"
        )
        parts = [f"{decided}; likeliest label: {parts[0]}", *parts[1:]]
    skipped = f"; {tally.skipped:,} skipped" if tally.skipped else ""
    were = "was" if tally.kept == 1 else "were"
    kept = f"; {tally.kept:,} {were} there already" if tally.kept else ""
    sessions = "session" if setup.sessions == 1 else "sessions"
    threads = "thread" if setup.threads == 1 else "threads"
    return (
        f"{tally.labels.total():,} images: {', '.join(parts)}{skipped}{kept}. Engine: "
        f"{setup.engine}, {setup.sessions} {sessions} of {setup.threads} {threads}."
    )


def words(answer: Answer, probability: str) -> tuple[str, ...]:
    """Image, label, probability, and the decision where there is one."""
    positive = answer.prediction.positive
    decision = () if positive is None else ("yes" if positive else "no",)
    return (answer.image, answer.prediction.label, probability, *decision)
