"""A query from the engine up to ``edgecell bench``'s stages, each layer timed by its loop.

On the tests' hand-made graphs, which compute next to nothing; on a trained artifact, and in each
engine that runs it, where ``EDGECELL_ARTIFACT`` names one. One thread, one image.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_reporting import timed_by_loop
from peers import own
from PIL import Image
from support import artifacts

from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bench import reference
from edgecell_runtime.bench.loop import Subject
from edgecell_runtime.bench.scenarios import Rotation, open_queries
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.engines.base import Session
from edgecell_runtime.signature import encode_pixels

Measured = Callable[[Subject[Any, Any]], Any]

_NAMED = os.environ.get("EDGECELL_ARTIFACT", "")


def _cases() -> list[tuple[str, str]]:
    """Artifact and engine: the named one's, else the hand-made graphs'."""
    if _NAMED:
        return [(_NAMED, engine) for engine in own.installed_engines(read_artifact(Path(_NAMED)))]
    return [("tflite", "litert"), ("onnx", "onnxruntime")]


@dataclass(frozen=True)
class Case:
    """An artifact that is open in an engine.

    Attributes:
        artifact: What is measured.
        session: In the engine.
        inputs: The golden inputs, in a folder.
    """

    artifact: Artifact
    session: Session
    inputs: own.Inputs

    def taken(self) -> list[np.ndarray]:
        """The inputs as the graph takes them, one image each."""
        spec = self.artifact.manifest.signature.inputs[0]
        return [encode_pixels(image[np.newaxis], spec) for image in np.load(self.inputs.images)]


@pytest.fixture(params=_cases(), ids=lambda case: f"{Path(case[0]).stem}-{case[1]}")
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    source, engine = request.param
    path = Path(source) if _NAMED else artifacts.write_artifact(tmp_path, source)
    artifact = read_artifact(path)
    inputs = own.write_inputs(artifact, tmp_path / "inputs")
    with ENGINES[engine].open(artifact.data, 1) as session:
        yield Case(artifact, session, inputs)


@timed_by_loop("Session.run, the same pixels")
def test_session_run(measured: Measured, case: Case) -> None:
    same = (case.taken()[0],)
    assert np.isfinite(measured(Subject(lambda _query: same, case.session.run))[0]).all()


@timed_by_loop("Session.run, images rotated")
def test_session_run_on_rotated_images(measured: Measured, case: Case) -> None:
    taken = case.taken()
    subject = Subject(lambda query: (taken[query % len(taken)],), case.session.run)
    assert np.isfinite(measured(subject)[0]).all()


@timed_by_loop("edgecell bench, stage model")
def test_bench_stage_model(measured: Measured, case: Case) -> None:
    classifier = Classifier(case.session, case.artifact.manifest)
    rotation = Rotation(case.inputs.count, seed=0)
    queries = open_queries(classifier, "model", case.inputs.folder, rotation)
    assert np.isfinite(measured(queries.subject(1))).all()
    queries.close()


@timed_by_loop("edgecell bench, stage pipeline")
def test_bench_stage_pipeline(measured: Measured, case: Case) -> None:
    classifier = Classifier(case.session, case.artifact.manifest)
    if classifier.manifest.preprocessing.depth is not None:
        pytest.skip("volumes come as arrays; there is no image file to decode")
    _write_files(case.inputs)
    rotation = Rotation(case.inputs.count, seed=0)
    queries = open_queries(classifier, "pipeline", case.inputs.folder, rotation)
    (prediction,) = measured(queries.subject(1))
    assert prediction.label in classifier.labels


@timed_by_loop("edgecell bench, the reference kernel")
def test_reference_kernel(measured: Measured) -> None:
    kernel = reference.kernel()
    measured(Subject(lambda query: query, lambda _query: kernel()))


def _write_files(inputs: own.Inputs) -> None:
    """The images as PNG files, by row number, as a job has them."""
    folder = inputs.folder / "files"
    folder.mkdir()
    for row, image in enumerate(np.load(inputs.images)):
        Image.fromarray(image.squeeze()).save(folder / str(row), "PNG")
