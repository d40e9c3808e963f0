"""edgecell's side: a row of ``edgecell bench``, and what lies between it and the bare engine."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.bench.plan import Job, Plan, Query, Target
from edgecell_runtime.bench.results import Row
from edgecell_runtime.bench.running import run_job
from edgecell_runtime.bench.scenarios import pixels_name
from edgecell_runtime.engines import engines_for
from edgecell_runtime.errors import EngineError, UsageError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.signature import encode_pixels
from peers.layers_child import Layer, LayersFound, LayerTimes
from peers.tool import Trial, last_line

_CHILD: Final = Path(__file__).with_name("layers_child.py")
_PATIENCE_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Inputs:
    """The images of a comparison, written to a folder.

    Attributes:
        folder: As a job names it.
        images: ``.npy``, uint8 (n, height, width, channels).
        one: ``.npy``, one input as the graph takes it, (1, height, width, channels).
        count: How many images.
    """

    folder: Path
    images: Path
    one: Path
    count: int


def installed_engines(artifact: Artifact) -> list[str]:
    """The engines that run an artifact and whose libraries are there."""
    return [
        engine.name
        for engine in engines_for(artifact.format)
        if importlib.util.find_spec(engine.module.partition(".")[0])
    ]


def write_inputs(artifact: Artifact, folder: Path) -> Inputs:
    """Writes the golden inputs, which every artifact has, whatever data there is.

    Raises:
        UsageError: The graph takes several images at once.
    """
    spec = artifact.manifest.signature.inputs[0]
    if spec.shape[0] not in (None, 1):
        raise UsageError(
            f"{artifact.path.name} takes batches of {spec.shape[0]}; the tools are compared at a "
            "batch of one: export it with --batch 0 or 1."
        )
    shape = artifact.manifest.preprocessing.shape
    images = golden_inputs(FORMULA, shape)
    folder.mkdir(parents=True)
    found = Inputs(folder, folder / pixels_name(shape), folder / "one.npy", len(images))
    np.save(found.images, images)
    np.save(found.one, encode_pixels(images[:1], spec))
    return found


def bench_row(artifact: Artifact, engine: str, inputs: Inputs, seconds: float) -> Row:
    """The row of single stream, as ``edgecell bench`` measures it in one process.

    Raises:
        EngineError: It could not be measured.
    """
    plan = Plan(
        scenarios=("single_stream",),
        min_queries=1,
        min_seconds=seconds,
        max_seconds=max(seconds, 1.0),
        processes=1,
    )
    target = Target(str(artifact.path.resolve()), engine, threads=1)
    queries = tuple(Query(str(number)) for number in range(inputs.count))
    job = Job((target,), plan, queries, inputs.folder.name, "golden")
    found = run_job(job, inputs.folder.parent).benchmark
    if not found.rows:
        raise EngineError(found.skipped[0].reason)
    return found.rows[0]


def layers(
    artifact: Artifact, engine: str, inputs: Inputs, seconds: float
) -> dict[Layer, LayerTimes]:
    """What each layer took, in a process of its own.

    Raises:
        EngineError: The process failed.
    """
    command = (sys.executable, _CHILD, artifact.path.resolve(), engine, inputs.images, seconds)
    try:
        said = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            timeout=_PATIENCE_SECONDS + 20 * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"The layers took longer than {error.timeout:,.0f} s.") from error
    if said.returncode:
        words = last_line(said.stderr.decode("utf-8", errors="replace"))
        raise EngineError(f"The layers could not be timed in {engine}: {words}")
    found = codec.loads(LayersFound, said.stdout, "layers")
    return {one.layer: one for one in found.layers}


def trial_of(
    artifact: Artifact, engine: str, inputs: Inputs, seconds: float, query_ms: float
) -> Trial:
    """What a tool gets, with a new folder of its own."""
    spec = artifact.manifest.signature.inputs[0]
    return Trial(
        artifact=artifact.path.resolve(),
        engine=engine,
        input_name=spec.name,
        shape=(1, *(size or 1 for size in spec.shape[1:])),
        pixels=inputs.one,
        seconds=seconds,
        queries=max(round(seconds * 1e3 / query_ms), 20),
        folder=Path(tempfile.mkdtemp(dir=inputs.folder)),
    )


def sentences(rows: Sequence[Row]) -> tuple[str, ...]:
    """What disturbed the rows, the first of each condition."""
    found: dict[str, str] = {}
    for flag in (flag for row in rows for flag in row.flags):
        found.setdefault(flag.condition, flag.words)
    return tuple(found.values())
