"""Turns: in each round every target has a block, in an order drawn anew, while the others sleep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from edgecell_runtime.bench import conditions
from edgecell_runtime.bench.findings import REFERENCE, Record, largest
from edgecell_runtime.bench.latency import Turn
from edgecell_runtime.bench.loop import NANOSECONDS
from edgecell_runtime.bench.messages import Command, Measured, Opened, Reply
from edgecell_runtime.bench.pinning import thread_times, threads_seen
from edgecell_runtime.bench.plan import Plan
from edgecell_runtime.bench.results import BatchRate
from edgecell_runtime.bench.workers import WorkerProcess
from edgecell_runtime.errors import EngineError
from edgecell_runtime.records import dataclass

Item = TypeVar("Item")

_TRIALS: Final = 3
"""Blocks of each batch that ``offline`` tries."""

_REFERENCE_SHARE: Final = 0.5
"""Of a turn: the reference kernel's times differ less than a model's."""


@dataclass(frozen=True)
class Contestant:
    """A worker that is measured.

    Attributes:
        target: Its number in the job, or ``REFERENCE``.
        cpus: That it is pinned to.
        worker: Its process.
        opened: What it said when it was ready.
    """

    target: int
    cpus: tuple[int, ...]
    worker: WorkerProcess
    opened: Opened


@dataclass(frozen=True)
class Goal:
    """What one process of a target measures of a scenario; see ``Plan``."""

    images: int
    seconds: float
    max_seconds: float

    @staticmethod
    def of(plan: Plan) -> "Goal":
        """A process's share."""
        share = plan.processes
        return Goal(plan.queries_a_process, plan.min_seconds / share, plan.max_seconds / share)

    def reached(self, images: int, seconds: float) -> float:
        """How much of it a process has, 0 to 1; 1 where it is done."""
        parts = [images / self.images, seconds / self.seconds if self.seconds else 1.0]
        return min(1.0, max(min(parts), seconds / self.max_seconds))


class Rounds:
    """Measures the scenarios of one process of each target.

    Args:
        contestants: Those that were opened; one that fails is taken off the list.
        plan: How long.
        process: Which of each target's processes these are.
        lost: Told of each target that failed, with the reason.
    """

    def __init__(
        self,
        contestants: Iterable[Contestant],
        plan: Plan,
        process: int,
        lost: Callable[[int, str], None],
    ) -> None:
        self.contestants = list(contestants)
        self._plan = plan
        self._process = process
        self._lost = lost
        self._goal = Goal.of(plan)
        self._generator = np.random.default_rng((plan.seed, process))
        self._pids = [contestant.worker.pid for contestant in self.contestants]

    def warm(self, records: Mapping[int, Record]) -> None:
        """Runs each until its times are steady, one after another."""
        for contestant in tuple(self.contestants):
            record = records[contestant.target]
            seconds = self._plan.max_seconds / self._plan.processes
            command = Command("warm", batch=record.batch, seconds=seconds)
            reply = self.ask(contestant, record, command)
            if reply is None or reply.warmed is None:
                continue
            warmed = reply.warmed
            record.warmup_queries = max(record.warmup_queries, warmed.queries)
            record.unsteady += not warmed.steady
            record.peak_memory_bytes = largest(record.peak_memory_bytes, warmed.peak_memory_bytes)

    def choose_batches(self, records: Mapping[int, Record]) -> None:
        """Tries each batch shortly, by turns, and notes the one with the most images a second."""
        tried: dict[tuple[int, int], list[Turn]] = {}
        for number in range(_TRIALS):
            for contestant in self._shuffled(self._models()):
                record = records[contestant.target]
                for batch in self._shuffled(self._plan.batches):
                    command = Command(
                        "try", "offline", batch=batch, seconds=self._plan.block_seconds
                    )
                    found = self._measured(contestant, record, command)
                    if found is None:
                        break
                    turn = self._turn(number, found, batch)
                    tried.setdefault((contestant.target, batch), []).append(turn)
        for contestant in self._models():
            record = records[contestant.target]
            record.batches = tuple(
                BatchRate(batch, _rate(tried[contestant.target, batch]))
                for batch in self._plan.batches
            )
            record.batch = max(record.batches, key=lambda rate: rate.images_per_second).batch

    def measure(
        self, records: Mapping[int, Record], tell: Callable[[float], None] = lambda _share: None
    ) -> None:
        """Measures blocks by turns until each target has what the plan asks for.

        The reference kernel goes on as long as any does; a target that is done leaves the others
        to their rounds.

        Args:
            records: By target; what was found is added to them.
            tell: Told after each round how much of the slowest is done, 0 to 1.
        """
        before = {c.target: thread_times(c.worker.pid) for c in self.contestants}
        number = 0
        while waiting := [c for c in self._models() if self._reached(records[c.target]) < 1]:
            reference = [c for c in self.contestants if c.target == REFERENCE]
            for contestant in self._shuffled([*waiting, *reference]):
                self.take_turn(contestant, records[contestant.target], number)
            number += 1
            tell(min((self._reached(records[c.target]) for c in self._models()), default=1.0))
        for contestant in self._models():
            record = records[contestant.target]
            seen = threads_seen(before[contestant.target], thread_times(contestant.worker.pid))
            record.threads_seen = max(record.threads_seen, seen)

    def take_answers(self, records: Mapping[int, Record], folder: Path) -> None:
        """Fetches what was answered in the queries that were timed."""
        for contestant in self._models():
            path = folder / f"answers-{contestant.target}.npy"
            record = records[contestant.target]
            if self.ask(contestant, record, Command("save", path=str(path))) is not None:
                record.add_answers(np.load(path, allow_pickle=False))

    def take_turn(self, contestant: Contestant, record: Record, number: int) -> None:
        """Measures one block, and notes what went on beside it."""
        earlier = conditions.snapshot(self._pids, contestant.cpus)
        found = self._measured(contestant, record, self._turn_of(contestant, record))
        if found is None:
            return
        record.disturbances.append((earlier, conditions.snapshot(self._pids, contestant.cpus)))
        record.turns.append(self._turn(number, found, record.batch))
        spent = record.seconds.get(self._process, 0.0)
        record.seconds[self._process] = spent + found.elapsed_ns / 1e9
        record.missed_ticks += found.missed_ticks

    def _turn_of(self, contestant: Contestant, record: Record) -> Command:
        plan = self._plan
        if contestant.target == REFERENCE:
            return Command("measure", seconds=plan.block_seconds * _REFERENCE_SHARE)
        paced = record.scenario == "paced"
        seconds = plan.paced_block_seconds if paced else plan.block_seconds
        return Command("measure", record.scenario, record.batch, seconds, rate_hz=plan.rate_hz)

    def _turn(self, number: int, found: Measured, batch: int) -> Turn:
        return Turn(self._process, number, np.array(found.durations, np.int64), batch)

    def _reached(self, record: Record) -> float:
        process = self._process
        return self._goal.reached(record.images_in(process), record.seconds.get(process, 0.0))

    def _models(self) -> list[Contestant]:
        return [c for c in self.contestants if c.target != REFERENCE]

    def _shuffled(self, items: Sequence[Item]) -> list[Item]:
        return [items[i] for i in self._generator.permutation(len(items))]

    def _measured(
        self, contestant: Contestant, record: Record, command: Command
    ) -> Measured | None:
        reply = self.ask(contestant, record, command)
        return None if reply is None else reply.measured

    def ask(self, contestant: Contestant, record: Record, command: Command) -> Reply | None:
        """Asks a worker; None where it failed, which ends its part."""
        try:
            return contestant.worker.ask(command)
        except EngineError as error:
            contestant.worker.close()
            self.contestants.remove(contestant)
            record.drop(self._process)
            self._lost(contestant.target, str(error))
            return None


def _rate(turns: Sequence[Turn]) -> float:
    """Images a second of the fastest block: a trial is short, and a disturbance only slows it."""
    return max(
        turn.images * turn.durations.size / float(turn.durations.sum()) for turn in turns
    ) * (NANOSECONDS)
