"""Jobs of tiny artifacts, for tests of the benchmark."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgecell.tasks.bench.asking import Wishes
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import Job, Plan, Query, Target
from edgecell_runtime.bench.workers import Launch
from support import artifacts, fake_bench_worker, models

FAKE = Launch(fake_bench_worker.COMMAND, start_seconds=60, turn_seconds=60)
IMAGES = 5

WISHES = Wishes(
    scenarios="single_stream",
    stage="model",
    threads="auto",
    engines="",
    cpus="",
    seconds=None,
    queries=None,
    mlperf=False,
    processes=None,
    rate=None,
    power="",
    seed=0,
)
"""What the command line asks for where it asks for little."""

SHORT = Plan(
    scenarios=("single_stream",),
    min_queries=20,
    min_seconds=0.0,
    max_seconds=2.0,
    block_seconds=0.005,
    batches=(1, 4),
    cold_starts=2,
    processes=1,
)


def write_job(
    folder: Path, names: Sequence[str], plan: Plan = SHORT, *, reference: bool = False
) -> Job:
    """Writes artifacts of these names, the inputs and ``job.json``."""
    (folder / "inputs/files").mkdir(parents=True)
    pixels = models.random_pixels(IMAGES, seed=1)
    np.save(folder / "inputs" / f"{'x'.join(map(str, models.SIZE))}.npy", pixels)
    for number, image in enumerate(pixels):
        packed = io.BytesIO()
        Image.fromarray(image).save(packed, "PNG")
        (folder / "inputs/files" / str(number)).write_bytes(packed.getvalue())
    for name in names:
        form = "tflite" if name.endswith(".tflite") else "onnx"
        (folder / name).write_bytes(artifacts.tiny_artifact(form))
    job = Job(
        targets=tuple(Target(name) for name in names),
        plan=plan,
        queries=tuple(Query(str(number)) for number in range(IMAGES)),
        inputs="inputs",
        kind="drawn",
        reference=reference,
    )
    (folder / "job.json").write_text(codec.dumps(job))
    return job
