"""Which rows of two benchmarks belong together, and what else differs between the two."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgecell.tasks.bench.words import SCENARIO_NAMES, engine_name
from edgecell_runtime.bench.results import Benchmark, Row, Unmatched
from edgecell_runtime.printable import printable_name
from edgecell_runtime.wording import counted

_Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A row as it was and as it is."""

    old: Row
    new: Row


def unmatched_of(row: Row, reason: str) -> Unmatched:
    """Names a row that was not compared."""
    cpus = f" on CPU {','.join(map(str, row.target.cpus))}" if row.target.cpus else ""
    threads = counted(row.threads, "thread")
    where = f"{engine_name(row)}, {threads}{cpus}, {SCENARIO_NAMES[row.scenario]}, {row.stage}"
    return Unmatched(f"{printable_name(row.artifact)} ({where})", reason)


def match(old: Sequence[Row], new: Sequence[Row]) -> tuple[list[Pair], tuple[Unmatched, ...]]:
    """Pairs rows of the same artifact, engine, threads, pinning, scenario and stage.

    Artifacts are the same by file name. Where that is not enough, since a side has two of a name,
    they are the same by path; and where each side has but one artifact, its name does not matter.
    """
    named = len(_artifacts(old)) > 1 or len(_artifacts(new)) > 1
    olds, news = _by_key(old, named), _by_key(new, named)
    pairs: list[Pair] = []
    unmatched: list[Unmatched] = []
    for key, rows in news.items():
        before = olds.pop(key, [])
        if len(before) == len(rows) == 1:
            pairs.append(Pair(before[0], rows[0]))
            continue
        for row in rows:
            same = [one for one in before if one.target.artifact == row.target.artifact]
            again = [one for one in rows if one.target.artifact == row.target.artifact]
            if len(same) == len(again) == 1:
                pairs.append(Pair(same[0], row))
            else:
                reason = "the old result has several such rows" if before else "only new has it"
                unmatched.append(unmatched_of(row, reason))
    unmatched += [unmatched_of(r, "only old has it") for rows in olds.values() for r in rows]
    return pairs, tuple(unmatched)


def different(old: Benchmark, new: Benchmark, pairs: Sequence[Pair]) -> Iterator[str]:
    """What else differs between two results, one sentence each; other artifacts are the rule."""
    changed = {pair.new.artifact for pair in pairs if pair.old.sha256 != pair.new.sha256}
    same = {pair.new.artifact for pair in pairs} - changed
    if changed:
        yield f"Other files than before: {', '.join(sorted(changed))}."
    if same:
        yield f"The very same files: {', '.join(sorted(same))}."
    yield from _systems(old, new)
    engines = {(p.old.engine, p.new.engine) for p in pairs if p.old.engine != p.new.engine}
    for before, after in sorted(engines):
        yield f"Engine: {before}, now {after}."
    if old.images != new.images:
        yield f"Images: {old.images}, now {new.images}."
    if old.plan != new.plan:
        yield f"Plans differ: {', '.join(_plan_fields(old, new))}."
    kinds = {
        f"{flag.condition.replace('_', ' ')}"
        for pair in pairs
        for row in (pair.old, pair.new)
        for flag in row.flags
    }
    if kinds:
        yield (
            f"Rows with flags ({', '.join(sorted(kinds))}) say less than their intervals; measure "
            "them again on a quiet machine."
        )


def _systems(old: Benchmark, new: Benchmark) -> Iterator[str]:
    one, other = old.system, new.system
    for what, before, after in (
        ("Processor", one.processor, other.processor),
        ("CPUs allowed", str(one.allowed_cpus), str(other.allowed_cpus)),
        ("Instruction sets", " ".join(one.cpu_flags), " ".join(other.cpu_flags)),
    ):
        if before != after:
            yield (
                f"{what}: {before or 'none known'}, now {after or 'none known'}; the reference "
                "kernel cannot make up for another machine."
            )
    if one.os != other.os:
        yield f"System: {one.os}, now {other.os}."
    names = dict.fromkeys([*one.versions, *other.versions])
    found = [
        f"{name} {one.versions.get(name, 'absent')}, now {other.versions.get(name, 'absent')}"
        for name in names
        if one.versions.get(name) != other.versions.get(name)
    ]
    if one.python != other.python:
        found.insert(0, f"{one.python}, now {other.python}")
    if found:
        yield f"Versions: {'; '.join(found)}."


def _plan_fields(old: Benchmark, new: Benchmark) -> list[str]:
    names = old.plan.__dataclass_fields__
    return [
        f"{name} {getattr(old.plan, name)}, now {getattr(new.plan, name)}"
        for name in names
        if getattr(old.plan, name) != getattr(new.plan, name)
    ]


def _artifacts(rows: Iterable[Row]) -> set[str]:
    return {row.target.artifact for row in rows}


def _by_key(rows: Iterable[Row], named: bool) -> dict[_Key, list[Row]]:
    found: dict[_Key, list[Row]] = defaultdict(list)
    for row in rows:
        cpus = ",".join(map(str, row.target.cpus))
        where = (engine_name(row), str(row.threads), cpus, row.scenario, row.stage)
        found[(row.artifact if named else "", *where)].append(row)
    return found
