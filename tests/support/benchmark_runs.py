"""Benchmarks of a made-up machine, from single queries on: its noise is known, and so is the truth.

Queries are lognormal with stalls. Blocks of one round share what disturbed the machine in that
moment; a process keeps the layout of memory that it got; and each run finds the machine in another
state, which changes the targets' times against the reference kernel's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench.latency import Turn, ratio_of_times
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.bench.results import Benchmark, Ratio
from support import benchmarks

REFERENCE = "reference"


@dataclass(frozen=True)
class Machine:
    """Standard deviations of logarithms.

    Attributes:
        query: Of single queries.
        round: Of what all blocks of a round share.
        process: Of a target in one process against it in another.
        run: Of a target's time against the reference kernel's in one run against another.
        day: Of all times of a run together.
        processes: One after another.
        rounds: Of each process.
        queries: Of a block.
    """

    query: float = 0.08
    round: float = 0.06
    process: float = 0.008
    run: float = 0.015
    day: float = 0.2
    processes: int = 3
    rounds: int = 10
    queries: int = 12


def measure(
    machine: Machine, times_ms: Mapping[str, float], generator: np.random.Generator
) -> dict[str, list[Turn]]:
    """The blocks of one run, by target; the reference kernel takes a millisecond."""
    day = generator.normal(0, machine.day)
    disturbed = generator.normal(0, machine.round, (machine.processes, machine.rounds))
    found: dict[str, list[Turn]] = {}
    for name, ms in {**times_ms, REFERENCE: 1.0}.items():
        state = 0.0 if name == REFERENCE else generator.normal(0, machine.run)
        layouts = generator.normal(0, machine.process, (machine.processes, 1))
        middles = ms * np.exp(day + state + layouts + disturbed)
        found[name] = [
            Turn(process, turn, _queries(machine, middle, generator))
            for (process, turn), middle in np.ndenumerate(middles)
        ]
    return found


def _queries(machine: Machine, ms: float, generator: np.random.Generator) -> NDArray[np.int64]:
    times = ms * generator.lognormal(0, machine.query, machine.queries)
    times[generator.random(machine.queries) < 0.01] *= 4
    return np.asarray(times * 1e6, np.int64)


def run(
    machine: Machine, times_ms: Mapping[str, float], generator: np.random.Generator
) -> Benchmark:
    """A run as ``--compare FILE.json`` has it: each row relative to the reference kernel."""
    turns = measure(machine, times_ms, generator)
    rows = [
        benchmarks.row(name, relative=ratio_of_times(turns[name], turns[REFERENCE], 0))
        for name in times_ms
    ]
    return benchmarks.benchmark(rows, ratios=())


def interleaved(
    machine: Machine,
    times_ms: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
) -> Benchmark:
    """One run with each artifact in its ``old/`` and its ``new/`` form, and their ratio."""
    calm = dataclasses.replace(machine, run=0.0)  # all of a run find it in the same state
    names = [f"{side}/{name}" for name in times_ms for side in ("old", "new")]
    times = [ms for pair in times_ms.values() for ms in pair]
    turns = measure(calm, dict(zip(names, times, strict=True)), generator)
    rows = [benchmarks.row(name.partition("/")[2], target=Target(name)) for name in names]
    ratios = []
    for old in range(0, len(names), 2):
        ratio = ratio_of_times(turns[names[old + 1]], turns[names[old]], 0)
        assert ratio is not None
        ratios.append(Ratio(old + 1, old, ratio))
    return benchmarks.benchmark(rows, ratios=tuple(ratios))
