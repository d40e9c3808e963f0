"""What ``edgecell bench`` was asked for: words of the command line to a request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from edgecell.console import MAX_THREADS
from edgecell.devices.base import DeviceSettings
from edgecell.devices.fleet import read_fleet
from edgecell.tasks.artifacts import run_artifacts
from edgecell.tasks.bench_comparing import Comparison, compare, compare_interleaved
from edgecell.tasks.bench_formats import read_benchmark
from edgecell.tasks.benching import Request
from edgecell_runtime.bench.plan import MLPERF_SECONDS, Plan, Scenario, Stage
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.errors import RunError, UsageError
from edgecell_train.runs import RECORD, find_run

AUTO: Final = "auto"

TENSORFLOW: Final = "tensorflow"
"""Runs SavedModels; no engine of the runtime."""

_LONGER: Final = 10
"""Times its least time a scenario may take until it has its queries."""

_PACED_ROOM: Final = 1.5
"""Likewise for paced queries, times what their ticks take."""


@dataclass(frozen=True)
class Wishes:
    """The options of measuring as they were typed; None where one was not.

    Attributes:
        scenarios: With commas between, as are ``threads``, ``engines`` and ``cpus``.
        stage: What of a query is timed.
        threads: Numbers, or ``auto``.
        engines: Names; empty takes the first that is proved.
        cpus: Numbers; empty pins nothing.
        seconds: At least, for each target and scenario.
        queries: Likewise.
        mlperf: Whether as long as MLPerf asks for.
        processes: Of each target.
        rate: Queries a second of ``paced``.
        power: A command that prints watts; empty for none.
        seed: Of all orders.
    """

    scenarios: str
    stage: Stage
    threads: str
    engines: str
    cpus: str
    seconds: float | None
    queries: int | None
    mlperf: bool
    processes: int | None
    rate: float | None
    power: str
    seed: int


@dataclass(frozen=True)
class Old:
    """What new artifacts are compared with; nothing where all is empty.

    Attributes:
        artifacts: Measured by turns with the new ones.
        result: A result of another day.
    """

    artifacts: tuple[Path, ...] = ()
    result: Benchmark | None = None

    def beside(self, request: Request) -> Request:
        """The request with the old artifacts before the new ones.

        Raises:
            UsageError: An artifact is both.
        """
        if not self.artifacts:
            return request
        new = request.artifacts or tuple(run_artifacts(find_run(None)))
        both = {path.resolve() for path in self.artifacts} & {path.resolve() for path in new}
        if both:
            raise UsageError(
                f"{sorted(both)[0]} is both old and new; name the new artifacts, and others with "
                "--compare."
            )
        return replace(request, artifacts=(*self.artifacts, *new))

    def comparison(self, found: Benchmark, fail_above: float) -> Comparison | None:
        """How the new compare with the old; None where there is nothing old.

        Raises:
            UsageError: No row of the two can be compared.
        """
        if self.result is not None:
            return compare(self.result, found, fail_above)
        if self.artifacts:
            old = {str(path.resolve()) for path in self.artifacts}
            return compare_interleaved(found, old, fail_above)
        return None


def request_of(artifacts: Sequence[Path], data: Path | None, wishes: Wishes) -> Request:
    """The request.

    Raises:
        UsageError: A word is none that is known, or two contradict each other.
    """
    return Request(
        artifacts=tuple(artifacts),
        data=data,
        threads=tuple(map(_threads, _words(wishes.threads))) or (0,),
        engines=tuple(map(_engine, _words(wishes.engines))) or ("",),
        cpus=tuple(map(_cpu, _words(wishes.cpus))),
        plan=_plan(wishes),
        power_command=wishes.power,
    )


def old_of(paths: Sequence[Path]) -> Old:
    """What ``--compare`` names: one result as JSON, or artifacts and runs.

    Raises:
        UsageError: A result stands beside other things, or cannot be read.
        RunError: A run has no artifacts.
    """
    results = [path for path in paths if path.suffix == ".json"]
    if results:
        if len(paths) > 1:
            raise UsageError("--compare takes one result as JSON, or artifacts; not both.")
        return Old(result=read_benchmark(results[0]))
    found: list[Path] = []
    for path in paths:
        if not (path / RECORD).is_file():
            found.append(path)
            continue
        of_run = run_artifacts(find_run(path))
        if not of_run:
            raise RunError(f"The run {path} has no artifacts; run `edgecell export {path}` first.")
        found += of_run
    return Old(tuple(found))


def devices_of(
    urls: Sequence[str], fleet: Path | None, common: DeviceSettings
) -> tuple[DeviceSettings, ...]:
    """The devices that were named, one by one or in a fleet file.

    Args:
        urls: Of ``--device``.
        fleet: A fleet file; None for none.
        common: What holds for each of ``urls``.

    Raises:
        UsageError: A fleet file stands beside options that it has for each device, or is none.
    """
    if fleet is None:
        return tuple(replace(common, name=url, url=url) for url in urls)
    if urls or common != DeviceSettings("", ""):
        raise UsageError(
            "--fleet names the devices and what each needs; leave --device and the options of "
            "single devices out."
        )
    return read_fleet(fleet)


def _plan(wishes: Wishes) -> Plan:
    if wishes.mlperf and wishes.seconds is not None:
        raise UsageError("--mlperf and --seconds both say how long to measure; give one of them.")
    plan = Plan()
    scenarios = _scenarios(wishes.scenarios)
    seconds = MLPERF_SECONDS if wishes.mlperf else wishes.seconds or plan.min_seconds
    queries, rate = wishes.queries or plan.min_queries, wishes.rate or plan.rate_hz
    longest = max(plan.max_seconds, _LONGER * seconds)
    if "paced" in scenarios:
        longest = max(longest, _PACED_ROOM * queries / rate)
    return replace(
        plan,
        scenarios=scenarios,
        stage=wishes.stage,
        min_queries=queries,
        min_seconds=seconds,
        max_seconds=longest,
        processes=wishes.processes or plan.processes,
        rate_hz=rate,
        seed=wishes.seed,
    )


def _scenarios(text: str) -> tuple[Scenario, ...]:
    known: tuple[Scenario, ...] = get_args(Scenario)
    words = _words(text)
    for word in words:
        if word not in known:
            raise UsageError(f"--scenarios has {word!r}; expected some of {', '.join(known)}.")
    if not words:
        raise UsageError(f"--scenarios is empty; expected some of {', '.join(known)}.")
    return tuple(scenario for scenario in known if scenario in words)


def _threads(word: str) -> int:
    if word == AUTO:
        return 0
    number = int(word) if word.isascii() and word.isdecimal() else 0
    if not 1 <= number <= MAX_THREADS:
        raise UsageError(
            f"--threads has {word!r}; expected numbers from 1 to {MAX_THREADS:,} or {AUTO}, with "
            "commas between."
        )
    return number


def _engine(word: str) -> str:
    known = sorted({*ENGINES, TENSORFLOW})
    if word not in known:
        raise UsageError(f"--engines has {word!r}; expected some of {', '.join(known)}.")
    return word


def _cpu(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise UsageError(f"--pin has {word!r}; expected numbers of CPUs, with commas between.")
    return int(word)


def _words(text: str) -> list[str]:
    """The words of a list, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
