"""Benchmarks as ``bench`` and ``demo`` make them: a job, the measuring, the answers."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell import console
from edgecell.tasks.artifacts import run_artifacts
from edgecell.tasks.bench import images, worker
from edgecell.tasks.bench.foreseeing import engines_of
from edgecell.tasks.graphs import macs_of, operators_of
from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bench.plan import Job, Plan, Query, Target
from edgecell_runtime.bench.results import Benchmark, Row, Skipped
from edgecell_runtime.bench.running import JOB_NAME, Measurement, run_job
from edgecell_runtime.bench.workers import Launch
from edgecell_runtime.errors import EdgecellError, EngineError, RunError, UsageError
from edgecell_runtime.files import storage_errors, write_text
from edgecell_runtime.manifest import Evaluation, Manifest
from edgecell_runtime.printable import printable_name
from edgecell_train.runs import DEFAULT_RUNS, LATEST, RECORD, find_run
from edgecell_train.statistics import Tested, evaluate_tested

INPUTS: Final = "inputs"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        artifacts: What to measure; empty takes all of the latest run.
        data: Labelled images, or where the run's images are now; None takes the run's own.
        threads: For the engines, each measured; 0 takes the CPUs that a process may use.
        engines: Names, each measured; empty takes the first that is proved.
        cpus: That every process is pinned to; empty pins none.
        plan: How long, and what.
        power_command: Prints watts; empty for none.
        patterns: Whether patterns are measured on although there are images.
    """

    artifacts: tuple[Path, ...] = ()
    data: Path | None = None
    threads: tuple[int, ...] = (0,)
    engines: tuple[str, ...] = ("",)
    cpus: tuple[int, ...] = ()
    plan: Plan = field(default_factory=Plan)
    power_command: str = ""
    patterns: bool = False


@dataclass(frozen=True)
class Prepared:
    """A job in its folder, and what its answers are held against.

    Attributes:
        job: What is measured.
        folder: That its paths are relative to.
        manifests: By artifact, as the job's targets name it.
        expected: The source model's probabilities, by the same, (n, labels).
        skipped: Artifacts that could not be read.
    """

    job: Job
    folder: Path
    manifests: dict[str, Manifest]
    expected: dict[str, NDArray[np.float64]]
    skipped: tuple[Skipped, ...]


def benchmark(
    request: Request, check: Callable[["Prepared"], None] = lambda _prepared: None
) -> Benchmark:
    """Measures artifacts on this machine, by turns, each in processes of its own.

    Args:
        request: What to measure.
        check: Asked before anything is measured; it raises what makes the measuring vain.

    Raises:
        RunError: No artifact is named and there is no run with exports.
        UsageError: The request makes no sense.
        DataError: The images are not where they should be.
        EngineError: Not one artifact could be measured.
    """
    with tempfile.TemporaryDirectory(prefix="edgecell-bench-") as name:
        prepared = prepare(request, Path(name))
        check(prepared)
        launch = Launch(worker.COMMAND)
        with console.progress() as bars:
            task = bars.add_task("Measuring", total=1.0, words="")
            found = run_job(
                prepared.job,
                prepared.folder,
                launch,
                lambda done, words: bars.update(task, completed=done, words=words),
            )
            bars.update(task, completed=1.0, words="")
    return completed(prepared, found)


def prepare(request: Request, folder: Path) -> Prepared:
    """Makes the job: which targets, which images; writes it and its inputs to a folder.

    Raises:
        EdgecellError: As ``benchmark``.
    """
    artifacts, skipped = _artifacts(request)
    pairs = _pairs(artifacts, request.engines)
    artifacts = list({artifact.path: artifact for artifact, _ in pairs}.values())
    chosen = (
        images.PATTERNS
        if request.patterns
        else images.choose(artifacts, request.data, request.plan.seed)
    )
    inputs = folder / INPUTS
    with storage_errors(inputs):
        inputs.mkdir(parents=True)
    written = images.write(chosen, artifacts, inputs, request.plan.stage)
    _warn_of_labels(artifacts, written.queries)
    queries = request.plan.min_queries
    if "paced" not in request.plan.scenarios:  # a camera would take minutes for them
        # Accuracy is of the answers that are timed: every image is asked for where time allows.
        queries = max(queries, len(written.queries))
    names = {artifact.path: str(artifact.path.resolve()) for artifact in artifacts}
    job = Job(
        targets=tuple(
            Target(names[artifact.path], engine, threads, request.cpus)
            for artifact, engine in pairs
            for threads in request.threads
        ),
        plan=replace(request.plan, min_queries=queries),
        queries=written.queries,
        inputs=INPUTS,
        kind=chosen.kind,
        power_command=request.power_command,
    )
    write_text(folder / JOB_NAME, codec.dumps(job))
    return Prepared(
        job,
        folder,
        {names[artifact.path]: artifact.manifest for artifact in artifacts},
        {names[path]: np.array(rows) for path, rows in written.expected.items()},
        tuple(skipped),
    )


def completed(prepared: Prepared, found: Measurement) -> Benchmark:
    """The result with what this side knows: right answers, changed labels, operators.

    Raises:
        EngineError: Not one artifact could be measured.
    """
    measured = found.benchmark
    skipped = (*prepared.skipped, *measured.skipped)
    for one in measured.skipped:
        console.error(f"{Path(one.target.artifact).name}: {one.reason}")
    if measured.reference_note:
        console.error(
            f"The reference kernel's process failed: {measured.reference_note} Results of other "
            "days cannot be set against rows that were measured without it."
        )
    if not measured.rows:
        raise EngineError("Not one artifact could be measured; the reasons are above.")
    graphs = {path: _graph(path) for path in {row.target.artifact for row in measured.rows}}
    rows = []
    for row, answers in zip(measured.rows, found.answers, strict=True):
        macs, operators = graphs[row.target.artifact]
        rows.append(replace(_answered(row, answers, prepared), macs=macs, operators=operators))
    return replace(measured, rows=tuple(rows), skipped=skipped)


def _artifacts(request: Request) -> tuple[list[Artifact], list[Skipped]]:
    paths = request.artifacts
    if not paths:
        paths = latest_artifacts()
        console.say(f"Measuring the artifacts of {console.shown(paths[0].parent.parent)}")
    artifacts: dict[Path, Artifact] = {}
    skipped = []
    for path in dict.fromkeys(paths):
        try:
            artifact = read_artifact(path)
        except EdgecellError as error:
            console.error(str(error))
            skipped.append(Skipped(Target(str(path)), str(error)))
            continue
        same = artifacts.setdefault(path.resolve(), artifact)
        if same is not artifact:
            console.warn(f"{path} is the same file as {same.path}; it is measured once.")
    if not artifacts:
        raise EngineError("Not one artifact could be measured; the reasons are above.")
    return list(artifacts.values()), skipped


def latest_artifacts() -> tuple[Path, ...]:
    """The artifacts of the latest run.

    Raises:
        RunError: There is no run, or the latest has none; the newest that has some is named.
    """
    run = find_run(None)
    found = tuple(run_artifacts(run))
    if found:
        return found
    others = []
    for record in DEFAULT_RUNS.glob(f"*/{RECORD}"):
        with contextlib.suppress(RunError):
            other = find_run(record.parent)
            if record.parent.name != LATEST and run_artifacts(other):
                others.append((other.record.time, record.parent))
    newest = f" The newest that has some: `edgecell bench {max(others)[1]}`." if others else ""
    raise RunError(f"The run {run.folder} has no artifacts; run `edgecell export` first.{newest}")


def _pairs(artifacts: Sequence[Artifact], engines: Sequence[str]) -> list[tuple[Artifact, str]]:
    """Each artifact with the engines that may run it; the others are said, and no failure.

    Raises:
        UsageError: Not one of the engines may run one of them.
    """
    found, unfit = [], []
    for artifact in artifacts:
        able = engines_of(artifact.format)
        fitting = [engine for engine in engines if not engine or engine in able]
        found += [(artifact, engine) for engine in fitting]
        if not fitting:
            unfit.append(
                f"{artifact.path.name} is {artifact.format}, for {', '.join(sorted(able))}"
            )
    named = ", ".join(engines)
    if not found:
        raise UsageError(f"Not one artifact runs in {named} (--engines): {'; '.join(unfit)}.")
    if unfit:
        console.warn(f"Left out, since --engines names only {named}: {'; '.join(unfit)}.")
    return found


def _warn_of_labels(artifacts: Sequence[Artifact], queries: Sequence[Query]) -> None:
    given = {query.label for query in queries} - {""}
    for artifact in artifacts:
        labels = artifact.manifest.labels
        strange = sorted(given - set(labels))
        if strange:
            console.warn(
                f"Right answers of {artifact.path.name} are not counted: the images have labels "
                f"that it does not know ({', '.join(map(printable_name, strange))}); its own are "
                f"{', '.join(labels)}. Name the class folders after them."
            )


def _graph(path: str) -> tuple[int | None, dict[str, int]]:
    """Multiply-accumulates and operators of an artifact, where what reads them is installed."""
    artifact = read_artifact(Path(path))
    try:
        return macs_of(artifact), operators_of(artifact).by_kind
    except EdgecellError as error:
        console.warn(f"Operators are not counted. {error}")
        return None, {}


def _answered(row: Row, answers: NDArray[np.float64], prepared: Prepared) -> Row:
    """The row with the figures of its answers, where there are labels."""
    manifest = prepared.manifests[row.target.artifact]
    asked = np.flatnonzero(~np.isnan(answers).any(axis=1)) if answers.size else np.array([], int)
    if not asked.size:
        return row
    found = answers[asked]
    expected = prepared.expected.get(row.target.artifact)
    changed = None
    if expected is not None:
        changed = float((found.argmax(axis=1) != expected[asked].argmax(axis=1)).mean())
    queries = [prepared.job.queries[image] for image in asked.tolist()]
    return replace(row, evaluation=_evaluation(queries, found, manifest), changed_labels=changed)


def _evaluation(
    queries: Sequence[Query], found: NDArray[np.float64], manifest: Manifest
) -> Evaluation | None:
    labels = manifest.labels
    if not all(query.label in labels for query in queries):
        return None
    return evaluate_tested(
        Tested(
            np.array([labels.index(query.label) for query in queries]),
            found,
            [query.patient or None for query in queries],
            labels,
            manifest.positive_label,
            manifest.threshold,
        )
    )
