"""What can be known of a comparison before anything is measured."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell.tasks.bench.words import SCENARIO_NAMES, engine_name
from edgecell_runtime.bench.plan import Job, Scenario, Target
from edgecell_runtime.bench.results import Row
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.errors import UsageError
from edgecell_runtime.manifest import Format, Manifest
from edgecell_runtime.printable import printable_name
from edgecell_runtime.threads import allowed_cpus

TENSORFLOW: Final = "tensorflow"
"""Runs SavedModels; no engine of the runtime."""


@dataclass(frozen=True)
class Foreseen:
    """A row that was measured, or will be.

    Attributes:
        path: Of its artifact.
        name: Its file name.
        engines: One of them runs it.
        threads: That the engine is given; None where that is not known.
        cpus: That it is pinned to.
        scenario: Which.
        stage: What is timed.
    """

    path: str
    name: str
    engines: frozenset[str]
    threads: int | None
    cpus: tuple[int, ...]
    scenario: Scenario
    stage: str

    def may_match(self, other: "Foreseen", *, named: bool) -> bool:
        """Whether the two may be compared, as ``bench_matching.match`` will have it."""
        mine, others = ((one.cpus, one.scenario, one.stage) for one in (self, other))
        return (
            mine == others
            and bool(self.engines & other.engines)
            and (None in (self.threads, other.threads) or self.threads == other.threads)
            and (not named or self.name == other.name)
        )


_ASPECTS: Final[Mapping[str, Callable[[Foreseen], Collection[str]]]] = {
    "engines": lambda one: one.engines,
    "threads": lambda one: ["any" if one.threads is None else str(one.threads)],
    "pinned CPUs": lambda one: [",".join(map(str, one.cpus)) or "none"],
    "scenarios": lambda one: [SCENARIO_NAMES[one.scenario]],
    "stages": lambda one: [one.stage],
}


def engines_of(form: Format) -> frozenset[str]:
    """The engines that may run a format."""
    if form == "savedmodel":
        return frozenset({TENSORFLOW})
    return frozenset(name for name, engine in ENGINES.items() if form in engine.formats)


def of_job(job: Job, manifests: Mapping[str, Manifest]) -> list[Foreseen]:
    """The rows that a job will give where nothing fails.

    Args:
        job: What will be measured.
        manifests: By artifact, as the job's targets name it.
    """
    return [
        Foreseen(
            path=target.artifact,
            name=Path(target.artifact).name,
            engines=frozenset({target.engine}) if target.engine else engines_of(form),
            threads=_threads(target, form),
            cpus=target.cpus,
            scenario=scenario,
            stage=job.plan.stage,
        )
        for target in job.targets
        for form in (manifests[target.artifact].format,)
        for scenario in job.plan.scenarios
    ]


def of_rows(rows: Iterable[Row]) -> list[Foreseen]:
    """The rows of a result."""
    return [
        Foreseen(
            path=row.target.artifact,
            name=row.artifact,
            engines=frozenset({engine_name(row)}),
            threads=row.threads,
            cpus=row.target.cpus,
            scenario=row.scenario,
            stage=row.stage,
        )
        for row in rows
    ]


def refuse_hopeless(old: Sequence[Foreseen], new: Sequence[Foreseen]) -> None:
    """Refuses a comparison of which no row can come, before minutes are spent on it.

    Raises:
        UsageError: No old row can be set against a new one.
    """
    named = any(len({one.path for one in side}) > 1 for side in (old, new))
    if any(one.may_match(other, named=named) for one in new for other in old):
        return
    apart = []
    if named and not {one.name for one in old} & {one.name for one in new}:
        apart.append(_apart("artifact names", old, new, lambda one: [printable_name(one.name)]))
    for what, of in _ASPECTS.items():
        if what == "threads" and any(one.threads is None for one in (*old, *new)):
            continue
        if not _all(old, of) & _all(new, of):
            apart.append(_apart(what, old, new, of))
    reasons = "; ".join(apart) or "each row differs from each in one of these"
    raise UsageError(
        f"No row could be compared with what --compare names ({reasons}); expected the same "
        "engine, threads, scenario and stage on both sides and, where a side has several "
        "artifacts, the same file names. Nothing was measured."
    )


def _threads(target: Target, form: Format) -> int | None:
    if target.threads or form == "savedmodel":
        return target.threads or None
    return min(allowed_cpus(), len(target.cpus) or allowed_cpus())


def _all(side: Sequence[Foreseen], of: Callable[[Foreseen], Collection[str]]) -> set[str]:
    return {word for one in side for word in of(one)}


def _apart(
    what: str,
    old: Sequence[Foreseen],
    new: Sequence[Foreseen],
    of: Callable[[Foreseen], Collection[str]],
) -> str:
    before, after = (", ".join(sorted(_all(side, of))) for side in (old, new))
    return f"{what}: {before}, now {after}"
