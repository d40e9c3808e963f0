"""Benchmarks as the commands ``bench`` and ``demo`` make them: one process an artifact."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.artifacts import run_artifacts
from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.benchmark import BenchmarkJob, HeldOutImage
from edgecell_runtime.errors import EdgecellError, EngineError, ImageError, RunError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.measure import BenchmarkResult
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.hdf5_images import open_data
from edgecell_train.runs import Run, find_run, run_of_artifact

_LATENCY_IMAGES = 256


@dataclass(frozen=True)
class HeldOut:
    """Labelled images that the measured artifacts have not been trained on.

    Attributes:
        location: Folder or file; empty where there are no images.
        images: Which of them.
    """

    location: str = ""
    images: tuple[HeldOutImage, ...] = ()


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        artifacts: What to measure; empty takes all of the latest run.
        data: Labelled images; None takes the run's held-out ones.
        threads: For the engines; None takes the CPUs that this process may use.
    """

    artifacts: tuple[Path, ...] = ()
    data: Path | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Benchmarked:
    """What came out.

    Attributes:
        results: One an artifact, in the order asked for.
        skipped: Artifacts that could not be measured, with the reason.
    """

    results: tuple[BenchmarkResult, ...]
    skipped: tuple[tuple[str, str], ...]


def benchmark(request: Request) -> Benchmarked:
    """Measures artifacts one after another, each in a process of its own.

    Raises:
        RunError: No artifact is named and there is no run with exports.
        DataError: The images are not where they should be.
        EngineError: Not one artifact could be measured.
    """
    artifacts = request.artifacts
    if not artifacts:
        run = find_run(None)
        artifacts = tuple(run_artifacts(run))
        if not artifacts:
            raise RunError(f"The run {run.folder} has no artifacts; run `edgecell export` first.")
        console.say(f"Measuring the artifacts of {console.shown(run.folder)}")
    results, skipped = [], []
    for artifact in artifacts:
        console.say(f"  {artifact.name} ...")
        try:
            spec = read_artifact(artifact).manifest.preprocessing
            held_out = _held_out(run_of_artifact(artifact), request.data)
            if not held_out.images:
                console.warn(
                    f"{artifact.name} lies in no run, so there are no held-out images: its latency "
                    "is measured on patterns, and its accuracy is not. Give images with --data."
                )
            results.append(_measure(artifact, spec, held_out, request.threads))
        except EdgecellError as error:
            skipped.append((str(artifact), str(error)))
            console.error(str(error))
    if not results:
        raise EngineError("Not one artifact could be measured; the reasons are above.")
    return Benchmarked(tuple(results), tuple(skipped))


def _held_out(run: Run | None, data: Path | None) -> HeldOut:
    """The run's test images, from where they are; all of ``data`` where there is no run."""
    if run is not None:
        location = data or run.folder / run.record.data.location
        run.open_images(data).close()  # it says what to do where they are gone
        answers = run.answers()
        return HeldOut(
            str(location),
            tuple(HeldOutImage(a.image.name, a.image.label, a.image.sha256) for a in answers),
        )
    if data is None:
        return HeldOut()
    with open_data(data, minimum_labels=1) as images:
        return HeldOut(str(data), tuple(HeldOutImage(i.name, i.label) for i in images.tested_on()))


def _measure(
    artifact: Path, spec: PreprocessSpec, held_out: HeldOut, threads: int | None
) -> BenchmarkResult:
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        np.save(pixels, _pixels(held_out, spec))
        job = BenchmarkJob(str(artifact), str(pixels), held_out.location, held_out.images, threads)
        child = subprocess.run(
            [sys.executable, "-m", "edgecell.tasks.bench_child"],
            input=codec.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode != 0:
        last = child.stderr.strip().rpartition("\n")[2] or f"exit status {child.returncode}"
        raise EngineError(f"{artifact.name} could not be measured: {last}")
    return codec.loads(BenchmarkResult, child.stdout, "result")


def _pixels(held_out: HeldOut, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Images that latency is measured on: held-out ones, or patterns where there are none."""
    if not held_out.images:
        return golden_inputs(FORMULA, spec.shape)
    order = np.random.default_rng(0).permutation(len(held_out.images))[:_LATENCY_IMAGES]
    with open_data(Path(held_out.location), minimum_labels=1) as images:
        found = [_decoded(images, held_out.images[i].name, spec) for i in order]
    readable = [pixels for pixels in found if pixels is not None]
    return np.stack(readable) if readable else golden_inputs(FORMULA, spec.shape)


def _decoded(images: LabelledImages, name: str, spec: PreprocessSpec) -> NDArray[np.uint8] | None:
    image = images.get(name)
    try:
        return None if image is None else spec.apply(images.read(image))
    except ImageError:
        return None


def result_table(results: Sequence[BenchmarkResult]) -> Table:
    """One row an artifact and engine."""
    rows = [
        (
            result.title,
            f"{result.engine}, {result.threads}",
            f"{result.size_bytes / 1e6:,.2f}",
            f"{result.load_ms:,.1f}",
            f"{result.latency.median_ms:,.3f}",
            f"{result.latency.p90_ms:,.3f}",
            f"{result.latency.p99_ms:,.3f}",
            _or_dash(result.images_per_second, ",.0f"),
            _or_dash(result.peak_memory_bytes and result.peak_memory_bytes / 1e6, ",.0f"),
            _or_dash(result.accuracy, ".4f"),
            f"{result.n:,}",
        )
        for result in results
    ]
    columns = (
        "artifact",
        "engine, threads",
        "MB",
        "load ms",
        "median ms",
        "p90 ms",
        "p99 ms",
        "images/s",
        "peak MB",
        "accuracy",
        "n",
    )
    return Table("Size, speed and right answers on held-out images", columns, rows)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
