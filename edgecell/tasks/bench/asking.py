"""What ``edgecell bench`` was asked for: words of the command line to a request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from edgecell.console import MAX_THREADS
from edgecell.devices.base import DeviceSettings
from edgecell.devices.fleet import read_fleet
from edgecell.tasks.artifacts import artifact_path, run_artifacts
from edgecell.tasks.bench.comparing import (
    check_allowed,
    compare,
    compare_interleaved,
    rows_to_compare,
)
from edgecell.tasks.bench.foreseeing import TENSORFLOW, of_job, of_rows, refuse_hopeless
from edgecell.tasks.bench.formats import read_benchmark
from edgecell.tasks.bench.running import Prepared, Request, latest_artifacts
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench.plan import MLPERF_SECONDS, Plan, Scenario, Stage
from edgecell_runtime.bench.results import Benchmark, Comparison
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.errors import RunError, UsageError
from edgecell_train.runs import DEFAULT_RUNS, RECORD, Run, find_run

AUTO: Final = "auto"

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
        fail_above: A row fails that is slower, and whose ratio is above this.
    """

    artifacts: tuple[Path, ...] = ()
    result: Benchmark | None = None
    fail_above: float = 1.0

    def beside(self, request: Request) -> Request:
        """The request with the old artifacts before the new ones.

        Raises:
            UsageError: An artifact is both.
        """
        if not self.artifacts:
            return request
        new = request.artifacts or latest_artifacts()
        both = {path.resolve() for path in self.artifacts} & {path.resolve() for path in new}
        if both:
            raise UsageError(
                f"{sorted(both)[0]} is both old and new; name the new artifacts, and others with "
                "--compare."
            )
        return replace(request, artifacts=(*self.artifacts, *new))

    def check(self, prepared: Prepared) -> None:
        """Refuses a comparison that cannot come to anything, before the measuring.

        Raises:
            UsageError: No row that will be measured can be compared.
        """
        rows = of_job(prepared.job, prepared.manifests)
        if self.result is not None:
            refuse_hopeless(of_rows(rows_to_compare(self.result)), rows)
        elif self.artifacts:
            old = self._paths()
            refuse_hopeless(
                [row for row in rows if row.path in old],
                [row for row in rows if row.path not in old],
            )

    def comparison(self, found: Benchmark) -> Comparison | None:
        """How the new compare with the old; None where there is nothing old.

        Raises:
            UsageError: No row of the two can be compared.
        """
        if self.result is not None:
            return compare(self.result, found, self.fail_above)
        if self.artifacts:
            return compare_interleaved(found, self._paths(), self.fail_above)
        return None

    def _paths(self) -> list[str]:
        return [str(path.resolve()) for path in self.artifacts]


def request_of(artifacts: Sequence[Path], data: Path | None, wishes: Wishes) -> Request:
    """The request.

    Raises:
        UsageError: A word is none that is known, or two contradict each other.
    """
    return Request(
        artifacts=_of_runs(artifacts),
        data=data,
        threads=tuple(map(_threads, _words(wishes.threads, "--threads"))),
        engines=tuple(map(_engine, _words(wishes.engines, "--engines")))
        if wishes.engines
        else ("",),
        cpus=tuple(map(_cpu, _words(wishes.cpus, "--pin"))) if wishes.cpus else (),
        plan=_plan(wishes),
        power_command=wishes.power,
    )


def old_of(paths: Sequence[Path], fail_above: float | None = None) -> Old:
    """What ``--compare`` names: one result as JSON, or artifacts and runs; all of it can be read.

    Args:
        paths: As typed.
        fail_above: As typed; None where it was not.

    Raises:
        UsageError: A result stands beside other things, cannot be read or cannot be compared with,
            or ``fail_above`` makes no sense.
        RunError: A run has no artifacts.
        ArtifactError: An artifact is missing or damaged.
    """
    if fail_above is not None:
        if not paths:
            raise UsageError(
                "--fail-above is of a comparison, and there is none; name what is old with "
                "--compare, or leave it out."
            )
        check_allowed(fail_above)
    allowed = 1.0 if fail_above is None else fail_above
    results = [path for path in paths if path.suffix == ".json"]
    if results:
        if len(paths) > 1:
            raise UsageError("--compare takes one result as JSON, or artifacts; not both.")
        return Old(result=_comparable(results[0]), fail_above=allowed)
    found = _of_runs(paths)
    for path in found:
        read_artifact(path)  # a measurement without it would be in vain
    return Old(found, fail_above=allowed)


def _comparable(path: Path) -> Benchmark:
    found = read_benchmark(path)
    if not found.rows:
        raise UsageError(f"{path} has no rows that could be compared; measure again.")
    if not any(row.relative for row in rows_to_compare(found)):
        reason = f" ({found.reference_note.rstrip('.')})" if found.reference_note else ""
        raise UsageError(
            f"{path} was measured without the reference kernel{reason}, so that nothing of another "
            "day can be set against it; measure it again, or name the old artifacts themselves."
        )
    return found


def _of_runs(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The paths, with a run's artifacts where one is a run."""
    found: list[Path] = []
    for path in paths:
        run = _run(path)
        if run is None and path.is_dir() and not savedmodel.recognises(path):
            raise UsageError(
                f"{path} is a folder and neither a run nor a SavedModel; name an artifact, or a "
                "folder that `edgecell train` left."
            )
        of_run = [artifact_path(path)] if run is None else run_artifacts(run)
        if not of_run:
            raise RunError(f"The run {path} has no artifacts; run `edgecell export {path}` first.")
        found += of_run
    return tuple(found)


def _run(path: Path) -> Run | None:
    """The run that a path names, as a folder or by its name in ``runs/``; None for no run."""
    by_name = not path.exists() and (DEFAULT_RUNS / path / RECORD).is_file()
    return find_run(path) if by_name or (path / RECORD).is_file() else None


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
    if fleet is None and not urls and common != DeviceSettings("", ""):
        raise UsageError(
            "--wheelhouse, --venv, --python, --remote-folder and --benchmark-model are of devices, "
            "and none is named; name one with --device, or leave them out."
        )
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
    made = replace(
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
    if "paced" not in scenarios:
        return made
    return replace(made, max_seconds=max(longest, _PACED_ROOM * made.paced_seconds))


def _scenarios(text: str) -> tuple[Scenario, ...]:
    known: tuple[Scenario, ...] = get_args(Scenario)
    words = _words(text, "--scenarios")
    for word in words:
        if word not in known:
            raise UsageError(f"--scenarios has {word!r}; expected some of {', '.join(known)}.")
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


def _words(text: str, option: str) -> list[str]:
    """The words of a list, each once.

    Raises:
        UsageError: There is none.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UsageError(f"{option} is empty; expected words with commas between, or leave it out.")
    return words
