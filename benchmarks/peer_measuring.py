"""Measures the files of ``peer_conversions.py`` by turns, and compares answers with Keras's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import scoring
from contenders import Contender, Query, edgecell_contender, plain_contender
from converting import Outcome
from numpy.typing import NDArray
from peer import Peer
from peer_table import Answers, PeerRow, Setting, Timing
from turns import TurnPlan, go_on, measure_by_turns, ratio_of_medians, wait_until_idle
from unseen import TestImages

from edgecell import console
from edgecell_export.operators import tflite_operators
from edgecell_export.output_capture import converter_output
from edgecell_runtime.engines import Engine
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.manifest import Figure
from edgecell_runtime.measure import LatencyStats
from edgecell_train.run_record import RunRecord

_ENGINES: Final = ("onnxruntime", "litert", "openvino")
_RECIPES: Final = ("float32", "float16", "dynamic_int8", "static_int8")


@dataclass(frozen=True)
class Entry:
    """A file in one engine.

    Attributes:
        peer: The file.
        path: Where it is.
        outcome: Of its conversion.
        engine: What runs it.
        calibration: Images that set its ranges; 0 for none.
    """

    peer: Peer
    path: Path
    outcome: Outcome
    engine: Engine
    calibration: int

    def open(self, record: RunRecord, threads: int) -> Contender:
        """Opens it.

        Args:
            record: Of the run that it was made from.
            threads: For the engine.

        Raises:
            EdgecellError: It is damaged, or the engine refuses it.
        """
        with converter_output():  # engines say on standard error that they start
            if self.peer.of_edgecell:
                return edgecell_contender(self.path, threads, self.engine)
            return plain_contender(self.path, record, self.peer.recipe, threads, self.engine)

    @property
    def group(self) -> tuple[int, int]:
        """Engine and recipe, in the order of the table: what is compared with one another."""
        return _ENGINES.index(self.engine.name), _RECIPES.index(self.peer.recipe)


def measure(
    entries: Sequence[Entry],
    record: RunRecord,
    test: TestImages,
    plan: TurnPlan,
    settings: Sequence[Setting],
) -> tuple[PeerRow, ...]:
    """One row an entry, by engine and recipe, edgecell's first.

    Args:
        entries: What to measure.
        record: Of the run that all were made from.
        test: Its unseen images.
        plan: How to measure.
        settings: A pass for each.
    """
    ordered = sorted(entries, key=lambda one: (one.group, not one.peer.of_edgecell))
    answers = [_answers_of(entry, record, test) for entry in ordered]
    running = [
        entry for entry, found in zip(ordered, answers, strict=True) if isinstance(found, Answers)
    ]
    passes = []
    for setting in settings:
        console.say(f"Measuring {len(running)} rows by turns: {setting.words} ...")
        passes.append(measure_setting(running, record, test, plan, setting))
    timings = dict(zip(map(id, running), zip(*passes, strict=True), strict=True))
    return tuple(
        _row(entry, found, timings.get(id(entry), ()))
        for entry, found in zip(ordered, answers, strict=True)
    )


def measure_setting(
    entries: Sequence[Entry],
    record: RunRecord,
    test: TestImages,
    plan: TurnPlan,
    setting: Setting,
) -> list[Timing]:
    """One pass: all entries by turns, with sessions of their own that are gone afterwards."""
    queries: dict[int, Query] = {}
    failures: dict[int, str] = {}
    for index, entry in enumerate(entries):
        try:
            query = Query(entry.open(record, setting.threads), test.pixels, setting.batch)
            query(0)
            queries[index] = query
        except EdgecellError as error:
            failures[index] = str(error)
    rest = wait_until_idle if setting.threads > 1 else go_on
    measured = measure_by_turns(list(queries.values()), plan, rest=rest)
    durations = dict(zip(queries, measured, strict=True))
    return [
        Timing(setting.threads, setting.batch, None, None, failures[index])
        if index in failures
        else Timing(
            setting.threads,
            setting.batch,
            LatencyStats.from_nanoseconds(durations[index]),
            _ratio(durations, index, _reference(entries, entry)),
        )
        for index, entry in enumerate(entries)
    ]


def _ratio(
    durations: dict[int, NDArray[np.int64]], index: int, reference: int | None
) -> Figure | None:
    if reference not in durations:
        return None
    return ratio_of_medians(durations[index], durations[reference])


def _reference(entries: Sequence[Entry], entry: Entry) -> int | None:
    """Index of edgecell's own file of the same engine and recipe: the first one of several."""
    for index, other in enumerate(entries):
        if other.peer.of_edgecell and other.group == entry.group:
            return index
    return None


def _answers_of(entry: Entry, record: RunRecord, test: TestImages) -> Answers | str:
    """How right its answers are; a sentence where it gives none."""
    if entry.outcome.cost is None:
        return entry.outcome.failure
    console.say(f"Scoring {entry.peer.file} in {entry.engine.name} ...")
    try:
        probabilities = entry.open(record, 1).probabilities(test.pixels)
    except EdgecellError as error:
        return str(error)
    return compare_answers(probabilities, test)


def compare_answers(probabilities: NDArray[np.float64], test: TestImages) -> Answers:
    """Holds probabilities, float64 (n, labels), against the stored ones and the truth."""
    predicted, before = probabilities.argmax(axis=1), test.stored.argmax(axis=1)
    differences = np.abs(probabilities - test.stored).max(axis=1)
    highest = np.sort(probabilities, axis=1)
    right = predicted == test.truth
    return Answers(
        accuracy=float(right.mean()),
        accuracy_change=scoring.accuracy_change(before == test.truth, right, test.patients),
        changed_labels=int(np.count_nonzero(predicted != before)),
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        undecided=int(np.count_nonzero(highest[:, -1] == highest[:, -2])),
    )


def count_nodes(path: Path) -> int:
    """Operators in a file, as it is stored."""
    if path.suffix == ".tflite":
        return sum(one.count for one in tflite_operators(path.read_bytes()).operators)
    import onnx

    return len(onnx.load(path).graph.node)


def _row(entry: Entry, answers: Answers | str, timings: tuple[Timing, ...]) -> PeerRow:
    peer = entry.peer
    exists = entry.outcome.cost is not None
    return PeerRow(
        file=peer.file,
        tool=peer.tool,
        engine=entry.engine.name,
        recipe=peer.recipe,
        calibration=entry.calibration,
        nodes=count_nodes(entry.path) if exists else 0,
        size_bytes=entry.path.stat().st_size if exists else 0,
        cost=entry.outcome.cost,
        timings=timings,
        answers=answers if isinstance(answers, Answers) else None,
        failure=answers if isinstance(answers, str) else "",
    )
