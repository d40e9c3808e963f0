"""Does ``edgecell bench --compare`` find a planted slowdown, and does it cry wolf?

python benchmarks/compare_power.py ARTIFACT [--runs 20] [--slower 1.15] [--output FILE]

Each run measures three copies of one artifact by turns: ``old``, ``same`` and ``slower``. The last
has its engine's time stretched by the planted factor, so that it feels the machine as much as the
others do. From the runs come four kinds of comparison: unchanged and planted, interleaved in a run
and against the run before by the reference kernel. Beside them stands what the machine's spread
was: ``bench_comparing.SPREAD`` has to be no less.
"""

import argparse
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.bench.comparing import SPREAD, compare, compare_interleaved
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench import worker
from edgecell_runtime.bench.plan import Job, Plan, Query, Target
from edgecell_runtime.bench.results import Benchmark, Comparison
from edgecell_runtime.bench.running import run_job
from edgecell_runtime.bench.workers import Launch
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.golden import FORMULA, golden_inputs

OLD, SAME, SLOWER = "old", "same", "slower"
_WORKER: Final = "--worker"


@dataclass(frozen=True)
class Power:
    """What came out of one kind of comparison.

    Attributes:
        how: ``interleaved`` or ``against the run before``.
        planted: The factor; 1 where nothing was changed.
        comparisons: How many were made.
        slower: In how many the row was called slower.
        faster: In how many it was called faster.
        failing: In how many it was also above 1.1 times.
        half_width: Median of how far the intervals reach, as a factor.
    """

    how: str
    planted: float
    comparisons: int
    slower: int
    faster: int
    failing: int
    half_width: float


class Stretched(Classifier):
    """A classifier that takes a factor longer for its logits than its engine does."""

    factor = 1.0

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """As the classifier's, and then spins."""
        clock = time.perf_counter_ns
        began = clock()
        found = super().logits(pixels)
        ends = began + round((clock() - began) * self.factor)
        while clock() < ends:
            pass
        return found


def open_target(target: Target) -> Classifier:
    """Opens a copy; the one in the folder ``slower-FACTOR`` is stretched."""
    kind, _, factor = Path(target.artifact).parent.name.partition("-")
    classifier = Stretched.open(target.artifact, threads=target.threads or None)
    classifier.factor = float(factor) if kind == SLOWER else 1.0
    return classifier


def measure(artifact: Path, folder: Path, slower: float, plan: Plan) -> Benchmark:
    """One run of the three copies."""
    copies = [folder / name / artifact.name for name in (OLD, SAME, f"{SLOWER}-{slower:g}")]
    shape = read_artifact(artifact).manifest.preprocessing.shape
    images = golden_inputs(FORMULA, shape)
    for copy in copies:
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            shutil.copyfile(artifact, copy)
    inputs = folder / "inputs"
    inputs.mkdir(exist_ok=True)
    np.save(inputs / f"{'x'.join(map(str, shape))}.npy", images)
    queries = tuple(Query(str(number)) for number in range(len(images)))
    targets = tuple(Target(str(copy), threads=1) for copy in copies)
    job = Job(targets, plan, queries, "inputs", "golden")
    return run_job(job, folder, Launch((sys.executable, __file__, _WORKER))).benchmark


def powers(results: Sequence[Benchmark], planted: float) -> list[Power]:
    """All four kinds of comparison."""
    found = []
    for how in ("interleaved", "against the run before"):
        for factor, name in ((1.0, SAME), (planted, SLOWER)):
            if how == "interleaved":
                made = [_interleaved(result, name) for result in results]
            else:
                pairs = itertools.pairwise(results)
                made = [compare(_only(a, OLD), _only(b, name), 1.1) for a, b in pairs]
            found.append(_power(how, factor, made))
    return found


def spreads(results: Sequence[Benchmark]) -> tuple[float, float]:
    """Standard deviations of logarithms: same over old in a run, and relative times of runs."""
    inside = [math.log(ratio.ratio.value) for r in results for ratio in r.ratios if ratio.row == 1]
    between = [math.log(r.rows[0].relative.value) for r in results if r.rows[0].relative]
    return statistics.stdev(inside) / math.sqrt(2), statistics.stdev(between)


def _interleaved(result: Benchmark, name: str) -> Comparison:
    rows = [i for i, row in enumerate(result.rows) if _kind(row.target) in (OLD, name)]
    place = {old: new for new, old in enumerate(rows)}
    kept = tuple(
        replace(ratio, row=place[ratio.row], base=place[ratio.base])
        for ratio in result.ratios
        if ratio.row in place and ratio.base in place
    )
    two = replace(result, rows=tuple(result.rows[i] for i in rows), ratios=kept)
    old = [row.target.artifact for row in two.rows if _kind(row.target) == OLD]
    return compare_interleaved(two, old, 1.1)


def _only(result: Benchmark, name: str) -> Benchmark:
    rows = tuple(row for row in result.rows if _kind(row.target) == name)
    return replace(result, rows=rows, ratios=())


def _kind(target: Target) -> str:
    return Path(target.artifact).parent.name.partition("-")[0]


def _power(how: str, planted: float, made: Sequence[Comparison]) -> Power:
    rows = [row for comparison in made for row in comparison.rows]
    return Power(
        how,
        planted,
        len(rows),
        sum(row.verdict == "slower" for row in rows),
        sum(row.verdict == "faster" for row in rows),
        sum(row.failing for row in rows),
        statistics.median(r.ratio.high / r.ratio.value for r in rows if r.ratio.high is not None),
    )


def table(found: Sequence[Power], title: str) -> Table:
    """One line a kind of comparison."""
    columns = ("how", "planted", "comparisons", "slower", "faster", "above 1.1", "interval")
    rows = [
        (
            one.how,
            f"{one.planted:g}",
            str(one.comparisons),
            str(one.slower),
            str(one.faster),
            str(one.failing),
            f"x {one.half_width:.3f}",
        )
        for one in found
    ]
    return Table(title, columns, rows)


def main() -> int:
    if _WORKER in sys.argv[1:]:
        return worker.main(worker.Opener(worker.load_library, open_target))
    arguments = _arguments()
    console.check_output(arguments.output)
    plan = Plan(
        scenarios=("single_stream",),
        min_seconds=arguments.seconds,
        max_seconds=max(10 * arguments.seconds, 30.0),
        processes=arguments.processes,
    )
    results = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.runs):
            seeded = replace(plan, seed=number)
            results.append(measure(arguments.artifact, Path(name), arguments.slower, seeded))
            console.say(f"run {number + 1} of {arguments.runs}")
    found = powers(results, arguments.slower)
    inside, between = spreads(results)
    title = (
        f"{arguments.artifact.name}: spread of a target in one run {inside:.1%} (assumed "
        f"{SPREAD.process:.1%} beyond its interval), between runs {between:.1%} (assumed "
        f"{SPREAD.run['single_stream']:.1%} beyond it)"
    )
    document = {"spread_in_run": inside, "spread_between_runs": between}
    console.present(
        {**document, "powers": [vars(one) for one in found]},
        [table(found, title)],
        as_json=False,
        output=arguments.output,
    )
    good = all(
        one.slower == one.comparisons if one.planted > 1 else one.slower + one.faster <= wolves
        for one in found
        for wolves in (math.ceil(one.comparisons / 20),)
    )
    console.say("Within what is promised." if good else "Not what is promised.")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The power of edgecell bench --compare.")
    parser.add_argument("artifact", type=Path, help="a .tflite or .onnx file")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--seconds", type=float, default=Plan().min_seconds, help="of each copy in each run"
    )
    parser.add_argument(
        "--processes", type=int, default=Plan().processes, help="of each copy in each run"
    )
    parser.add_argument("--slower", type=float, default=1.15, help="the planted factor")
    parser.add_argument("--output", type=Path, help="a file: .json, .md, .csv or .html")
    found = parser.parse_args()
    if found.runs < 3 or found.slower <= 1:
        parser.error("expected --runs 3 or more and --slower above 1")
    return found


if __name__ == "__main__":
    sys.exit(main())
