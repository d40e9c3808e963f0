"""Runs a job: starts its workers, has them measured by turns, and puts the result together.

For each of ``Plan.processes`` all targets are started and warmed, one after another, and then have
their blocks by turns, scenario for scenario; cold starts come last. A target whose process dies or
hangs is left out from there on, with the reason, and the others go on.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench import conditions
from edgecell_runtime.bench.cold import start_cold
from edgecell_runtime.bench.findings import REFERENCE, Described, Findings, Record
from edgecell_runtime.bench.messages import Opening
from edgecell_runtime.bench.metering import Metering
from edgecell_runtime.bench.plan import Job, Scenario, Target
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.bench.rounds import Contestant, Rounds
from edgecell_runtime.bench.rows import benchmark_of
from edgecell_runtime.bench.workers import Launch, WorkerProcess
from edgecell_runtime.errors import EdgecellError, EngineError, UsageError
from edgecell_runtime.files import storage_errors, write_bytes, write_text
from edgecell_runtime.records import dataclass

Say = Callable[[float, str], None]
"""Told how much is done, 0 to 1, and what comes next."""

JOB_NAME: Final = "job.json"
BENCHMARK_NAME: Final = "benchmark.json"
ANSWERS_NAME: Final = "answers.npz"


@dataclass(frozen=True)
class Measurement:
    """What came out.

    Attributes:
        benchmark: Without ``evaluation`` and ``changed_labels``, which are the caller's.
        answers: By row, float64 (images, labels) probabilities, NaN where not asked; cold starts
            keep none.
    """

    benchmark: Benchmark
    answers: tuple[NDArray[np.float64], ...]


def read_job(folder: Path) -> Job:
    """Reads ``job.json`` of a folder.

    Raises:
        UsageError: There is none, or it is not a job.
    """
    try:
        return codec.loads(Job, (folder / JOB_NAME).read_bytes(), "job")
    except (OSError, EdgecellError) as error:
        raise UsageError(f"{folder} holds no benchmark to run: {error}") from error


def write_measurement(found: Measurement, folder: Path) -> None:
    """Writes ``benchmark.json`` and ``answers.npz``, key ``row-0`` and so on.

    Raises:
        StorageError: One cannot be written.
    """
    arrays = {f"row-{number}": rows for number, rows in enumerate(found.answers)}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    write_bytes(folder / ANSWERS_NAME, packed.getvalue())
    write_text(folder / BENCHMARK_NAME, codec.dumps(found.benchmark, indent=1) + "\n")


def run_job(
    job: Job, folder: Path, launch: Launch | None = None, say: Say = lambda _done, _words: None
) -> Measurement:
    """Measures all that a job asks for.

    Args:
        job: What to measure.
        folder: That its paths are relative to.
        launch: How workers are started; None starts the runtime's, which opens no SavedModel.
        say: Told of the progress.

    Raises:
        UsageError: The job makes no sense, or its power meter cannot be read.
    """
    if not job.targets or not job.queries:
        raise UsageError("A benchmark needs at least one artifact and one image; give both.")
    with contextlib.ExitStack() as stack:
        with storage_errors(Path(tempfile.gettempdir())):
            holder = tempfile.TemporaryDirectory(prefix="edgecell-bench-")
        scratch = Path(stack.enter_context(holder))
        metering = stack.enter_context(Metering(job.power_command))
        run = _Run(job, folder, launch or Launch(), say, metering)
        run.measure(scratch)
        return Measurement(*benchmark_of(job, run.findings))


class _Run:
    """One run of a job, as far as it has come."""

    def __init__(
        self, job: Job, folder: Path, launch: Launch, say: Say, metering: Metering
    ) -> None:
        self._job = job
        self._folder = folder
        self._launch = launch
        self._tell = say
        self._metering = metering
        self._steps = 0
        self.findings = Findings({}, {}, {}, metering.note)

    def measure(self, scratch: Path) -> None:
        plan = self._job.plan
        for number, target in enumerate(self._job.targets):
            try:
                self.findings.described[number] = _describe(self._resolved(target))
            except EdgecellError as error:
                self._lost(number, str(error))
        for process in range(plan.processes if set(plan.scenarios) != {"cold"} else 0):
            if self._living():
                self._measure_process(process, scratch)
        if "cold" in plan.scenarios and self._living():
            self._measure_cold()
        self.findings.energy_note = self._metering.note

    def _measure_process(self, process: int, scratch: Path) -> None:
        """Measures one process of each target in all scenarios but ``cold``."""
        plan = self._job.plan
        with contextlib.ExitStack() as stack:
            # Drawn anew, or whoever is opened last would always find the memory that is left.
            order = np.random.default_rng((plan.seed, process)).permutation(self._living())
            rounds = self._rounds(stack, process, [*order.tolist(), REFERENCE])
            self._say(process, "warming up")
            first = {number: Record(number, "single_stream") for number in self._numbers()}
            rounds.warm(first)
            for scenario in plan.scenarios:
                if scenario == "cold" or not self._living():
                    continue
                records = self._records(scenario)
                for number, record in records.items():
                    record.take_warm_up(first[number])
                if scenario == "offline":
                    if process == 0:
                        rounds.choose_batches(records)
                    rounds.warm(records)
                self._say(process, scenario)
                rounds.measure(records, _Tenths(lambda share: self._say_more(process, share)))
                rounds.take_answers(records, scratch)
                if process == 0 and scenario in ("single_stream", "offline"):
                    self._metering.measure(rounds, records)

    def _measure_cold(self) -> None:
        plan, records = self._job.plan, self._records("cold")
        generator = np.random.default_rng((plan.seed, plan.processes))
        with contextlib.ExitStack() as stack:
            rounds = self._rounds(stack, plan.processes, [REFERENCE])
            rounds.warm(records)
            for number in range(plan.cold_starts):
                self._say(plan.processes, f"cold start {number + 1} of {plan.cold_starts}")
                for target in generator.permutation(self._living()).tolist():
                    self._start_cold(records[target], number)
                for contestant in tuple(rounds.contestants):
                    rounds.take_turn(contestant, records[REFERENCE], number)

    def _start_cold(self, record: Record, number: int) -> None:
        cpus = self._job.targets[record.target].cpus
        earlier = conditions.snapshot((), cpus)
        try:
            found, opened = start_cold(self._opening(record.target, 0), self._launch, number)
        except EngineError as error:
            self._lost(record.target, str(error))
            return
        record.disturbances.append((earlier, conditions.snapshot((), cpus)))
        record.cold.append(found)
        self.findings.described[record.target].cold.append(opened)

    def _rounds(self, stack: contextlib.ExitStack, process: int, numbers: list[int]) -> Rounds:
        """Starts the processes of these targets, one after another."""
        found = []
        for number in numbers:
            if number == REFERENCE and not self._job.reference:
                continue
            if number != REFERENCE:
                self._say(process, f"opening {Path(self._job.targets[number].artifact).name}")
            try:
                found.append(self._open(stack, number, process))
            except EngineError as error:
                self._lost(number, str(error))
        return Rounds(found, self._job.plan, process, self._lost)

    def _open(self, stack: contextlib.ExitStack, number: int, process: int) -> Contestant:
        opening = self._opening(number, process)
        worker = stack.enter_context(WorkerProcess(opening, self._launch))
        _, reply = worker.receive()
        if reply.opened is None:
            raise EngineError("The measuring process gave no answer when it was started.")
        if number in self.findings.described:
            self.findings.described[number].opened.append(reply.opened)
        cpus = opening.target.cpus if opening.target else ()
        return Contestant(number, cpus, worker, reply.opened)

    def _opening(self, number: int, process: int) -> Opening:
        job, plan = self._job, self._job.plan
        images = len(job.queries)
        return Opening(
            target=None if number == REFERENCE else self._resolved(job.targets[number]),
            stage=plan.stage,
            inputs=str((self._folder / job.inputs).absolute()),
            images=images,
            seed=plan.seed,
            first_image=process * images // plan.processes,
        )

    def _resolved(self, target: Target) -> Target:
        artifact = str((self._folder / target.artifact).absolute())
        return Target(artifact, target.engine, target.threads, target.cpus)

    def _numbers(self) -> list[int]:
        return [*range(len(self._job.targets)), REFERENCE]

    def _living(self) -> list[int]:
        return [n for n in range(len(self._job.targets)) if n not in self.findings.lost]

    def _records(self, scenario: Scenario) -> dict[int, Record]:
        records = self.findings.records.setdefault(scenario, {})
        for number in self._numbers():
            records.setdefault(number, Record(number, scenario))
        return records

    def _lost(self, number: int, reason: str) -> None:
        self.findings.lost[number] = reason
        name = "the reference kernel" if number == REFERENCE else self._job.targets[number].artifact
        self._tell(self._done(), f"{Path(name).name} is left out: {reason}")

    def _say(self, process: int, words: str) -> None:
        self._tell(self._done(), f"{self._which(process)}{words}")
        self._steps += 1

    def _which(self, process: int) -> str:
        processes = self._job.plan.processes
        return f"process {process + 1} of {processes}: " if 1 < processes > process else ""

    def _say_more(self, process: int, share: float) -> None:
        self._tell(self._done(share - 1), f"{self._which(process)}{share:.0%} of it")

    def _done(self, more: float = 0.0) -> float:
        plan, targets = self._job.plan, len(self._job.targets)
        steady = [scenario for scenario in plan.scenarios if scenario != "cold"]
        steps = plan.processes * (targets + 1 + len(steady)) if steady else 0
        steps += plan.cold_starts if "cold" in plan.scenarios else 0
        return min(1.0, (self._steps + more) / max(1, steps))


class _Tenths:
    """Hands on a share where it has grown by a tenth."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._next = 0.1

    def __call__(self, share: float) -> None:
        if self._next <= share < 1:
            self._tell(share)
            self._next = share + 0.1


def _describe(target: Target) -> Described:
    artifact = read_artifact(Path(target.artifact))
    manifest = artifact.manifest
    return Described(
        artifact.digest,
        manifest.format,
        manifest.recipe,
        artifact.size_bytes,
        manifest.loosened,
        len(manifest.labels),
        [],
        [],
    )
