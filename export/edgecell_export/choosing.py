"""``--recipe auto``: every recipe of a format on trial, and the choice among them.

Candidates are compared with the source model and with one another on validation patients; test
patients are left for the one that is written.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgecell_export.choices import Loss, Validation
from edgecell_export.parity import require_parity
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.speed import SpeedRatio, measure_by_turns, median_ms, speed_ratio
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.errors import ExportError
from edgecell_runtime.manifest import ParityLimits


@dataclass(frozen=True)
class Candidate:
    """A recipe on trial.

    Attributes:
        recipe: Its name.
        refused: Why it is out, if it is.
        size_bytes: Of its artifact.
        loss: What it loses on validation images.
        latency_ms: Median of one query with one thread, on this machine.
        against_fastest: How many times as fast as the fastest one it is.
        chosen: Whether it is the choice.
    """

    recipe: str
    refused: str = ""
    size_bytes: int | None = None
    loss: Loss | None = None
    latency_ms: float | None = None
    against_fastest: SpeedRatio | None = None
    chosen: bool = False


def judge(
    recipe: str,
    artifact: Artifact,
    validation: Validation,
    limits: ParityLimits,
    max_drop: float | None,
) -> Candidate:
    """Holds a built artifact against the recipe's limits, on validation images.

    Raises:
        EngineError: Its engine failed.
    """
    with open_classifier(artifact.path, threads=1) as classifier:
        found = validation.answers(classifier)
    loss = validation.loss(found)
    candidate = Candidate(recipe, size_bytes=artifact.size_bytes, loss=loss)
    try:
        require_parity(validation.parity(found, limits))
    except ExportError as error:
        return replace(candidate, refused=str(error))
    if max_drop is not None and loss.points > max_drop:
        lost = f"it loses {loss.points:.2f} points; at most {max_drop:g} were allowed"
        return replace(candidate, refused=lost)
    return candidate


def pick(
    candidates: Sequence[Candidate], artifacts: Sequence[Artifact], pixels: NDArray[np.uint8]
) -> list[Candidate]:
    """Times candidates by turns and marks the choice: the smallest of the fastest.

    Those count as fastest whose time cannot be told from the fastest one's.

    Args:
        candidates: Not refused; at least one.
        artifacts: Theirs, in the same order.
        pixels: uint8 (n, height, width, channels) to answer for.
    """
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_classifier(artifact.path, threads=1)) for artifact in artifacts
        ]
        times = measure_by_turns(opened, pixels)
    return mark_choice(candidates, times)


def mark_choice(candidates: Sequence[Candidate], times: NDArray[np.int64]) -> list[Candidate]:
    """Fills in times and the choice; see ``pick``.

    Args:
        candidates: At least one.
        times: int64 (candidates, rounds), nanoseconds.
    """
    medians = [median_ms(row) for row in times]
    fastest = int(np.argmin(medians))
    timed = [
        replace(candidate, latency_ms=median, against_fastest=speed_ratio(row, times[fastest]))
        for candidate, median, row in zip(candidates, medians, times, strict=True)
    ]
    alike = [
        index
        for index, one in enumerate(timed)
        if one.against_fastest is not None and not one.against_fastest.slower
    ]
    choice = min(alike, key=lambda index: timed[index].size_bytes or 0)
    timed[choice] = replace(timed[choice], chosen=True)
    return timed
