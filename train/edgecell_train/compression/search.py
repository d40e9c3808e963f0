"""The search for a small net: what was asked for, what was found, and what is chosen of it.

A folder holds ``search.json``, with what is asked for and the points so far, and the net of each
step. Both are replaced as wholes after each step, from which an interrupted search goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError, RunError
from edgecell_runtime.files import write_bytes, write_text
from edgecell_train.compression.frontier import Point, frontier_csv, frontier_plot
from edgecell_train.compression.limits import Limits
from edgecell_train.config import TrainConfig

SEARCH: Final = "search.json"
FRONTIER_CSV: Final = "frontier.csv"
FRONTIER_PNG: Final = "frontier.png"

_PATIENCE: Final = 2
"""Steps in a row that may lose too much before a search without a limited cost ends."""


@dataclass(frozen=True)
class Search:
    """A search, with what it has found so far.

    Attributes:
        source: Folder of the run that is compressed.
        weights_sha256: Of its weights.
        name: Of the compressed net and its files.
        limits: What was asked for.
        config: How to fine-tune, at the end for ``epochs``.
        points: The source, the steps and, at the end, the final net; another where the first one
            is of no use.
        exhausted: Whether no channel can be taken any more.
        diverged: How a fine-tuning diverged, which ends the search; empty as long as none did.
        schema_version: 1.
    """

    source: str
    weights_sha256: str
    name: str
    limits: Limits
    config: TrainConfig
    points: tuple[Point, ...] = ()
    exhausted: bool = False
    diverged: str = ""
    schema_version: Literal[1] = 1

    @property
    def steps(self) -> tuple[Point, ...]:
        """The points of narrowed nets, before the final fine-tuning."""
        return tuple(point for point in self.points if point.kind == "step")

    @property
    def smallest(self) -> Point:
        """The point of the net that is cut next: of the last step, or of the source."""
        return (self.points[:1] + self.steps)[-1]

    @property
    def finals(self) -> tuple[Point, ...]:
        """The points of nets that were fine-tuned to their end."""
        return tuple(point for point in self.points if point.kind == "final")

    @property
    def result(self) -> Point | None:
        """The net that the run gets: a final one, or its step's where that alone keeps the limits.

        None until there is one.
        """
        for final in self.finals:
            (step,) = (point for point in self.steps if point.step == final.step)
            for point in (final, step):
                if self.limits.keeps(point):
                    return point
        return None

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without a net: going on would find none."""
        if self.diverged or self.result is not None:
            return bool(self.diverged)
        if self.finals and not self.finals[-1].problem:
            return True  # a smaller one would lose more
        return self.exhausted and chosen_step(self) is None


def step_file(folder: Path, step: int) -> Path:
    """Where the net of a step is."""
    return folder / f"step-{step}.keras"


def read_search(folder: Path) -> Search:
    """Reads a search.

    Raises:
        RunError: There is none, or it is damaged.
    """
    path = folder / SEARCH
    try:
        return codec.loads(Search, path.read_bytes(), SEARCH)
    except (ManifestError, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {error} Remove {folder} and compress again."
        ) from error


def write_search(folder: Path, search: Search) -> None:
    """Replaces what is known of a search, and its table and plot.

    Raises:
        StorageError: They could not be written.
    """
    write_text(folder / SEARCH, codec.dumps(search, indent=2) + "\n")
    if search.points:
        write_text(folder / FRONTIER_CSV, frontier_csv(search.points))
        write_bytes(folder / FRONTIER_PNG, _plot(search))


def chosen_step(search: Search) -> Point | None:
    """The step whose net is worth the final fine-tuning; None while the search goes on.

    With limited costs it is the first that meets them. Without, it is the smallest that keeps the
    accuracy, once those behind it do not, or there are none. One that is of no use, or came to a
    final net that is of none, is never chosen.
    """
    limits, tried = search.limits, {final.step for final in search.finals}
    steps = [point for point in search.steps if not point.problem and point.step not in tried]
    if limits.has_costs:
        return next((point for point in steps if limits.meets_costs(point)), None)
    if not search.exhausted and not _has_lost(search):
        return None
    accurate = [point for point in steps if limits.keeps_accuracy(point)]
    return accurate[-1] if accurate else None


def _has_lost(search: Search) -> bool:
    lost = [not search.limits.keeps_accuracy(point) for point in search.steps[-_PATIENCE:]]
    return len(lost) == _PATIENCE and all(lost)


def _plot(search: Search) -> bytes:
    limits = search.limits
    asked = {"size_bytes": limits.size_bytes, "latency_ms": limits.latency_ms, "macs": limits.macs}
    source: Sequence[Point] = search.points
    accuracy = source[0].accuracy + source[0].drop / 100
    return frontier_plot(
        search.points,
        {name: limit for name, limit in asked.items() if limit is not None},
        accuracy - limits.drop / 100,
    )
