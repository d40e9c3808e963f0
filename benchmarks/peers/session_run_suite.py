"""What ``pytest_benchmark_tool`` has measured; the environment names artifact, engine and pixels.

Its name keeps it out of ``pytest benchmarks/``: there, ``test_model.py`` times the same with
edgecell's own loop.
"""

import os
from pathlib import Path

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.engines import ENGINES


def test_session_run(benchmark: BenchmarkFixture) -> None:
    """One thread, one image."""
    artifact = read_artifact(Path(os.environ["EDGECELL_ARTIFACT"]))
    pixels = np.load(os.environ["EDGECELL_PIXELS"])
    with ENGINES[os.environ["EDGECELL_ENGINE"]].open(artifact.data, 1) as session:
        outputs = benchmark(session.run, (pixels,))
    assert all(np.isfinite(output).all() for output in outputs)
