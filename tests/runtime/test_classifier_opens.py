"""Opening artifacts: from a path to an answer, with the engines themselves."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import artifacts, models
from support.pictures import encoded, gradient

from edgecell_runtime import Classifier, classifier
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.containers import container_of, savedmodel
from edgecell_runtime.engines import ENGINES, Engine, Session
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import ArtifactError, EngineError, ManifestError
from edgecell_runtime.manifest import Format

BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@BOTH
def test_classifier_answers_from_a_path(tmp_path: Path, artifact_format: Format) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    picture = tmp_path / "cell.png"
    picture.write_bytes(encoded(gradient(8, 8), "PNG"))
    logits = models.expected_logits(np.asarray(gradient(8, 8))[None])[0]
    with Classifier.open(str(path), threads=1) as opened:
        prediction = opened.predict(picture)
    difference = logits[0] - logits[1]
    assert prediction.probabilities["Parasitized"] == pytest.approx(1 / (1 + np.exp(-difference)))
    assert opened.manifest == artifacts.tiny_manifest(artifact_format)


@BOTH
def test_engines_give_the_same_logits(tmp_path: Path, artifact_format: Format) -> None:
    pixels = models.random_pixels(5)
    with Classifier.open(artifacts.write_artifact(tmp_path, artifact_format)) as opened:
        assert np.allclose(opened.logits(pixels), models.expected_logits(pixels), atol=1e-4)


@BOTH
@pytest.mark.parametrize("batch", [1, 2])
def test_fixed_batch_is_looped_over(artifact_format: Format, batch: int) -> None:
    pixels = models.random_pixels(4)
    data = artifacts.tiny_artifact(artifact_format, batch)
    manifest = artifacts.tiny_manifest(artifact_format, batch)
    artifact = Artifact(Path("x"), manifest, "", len(data), data)
    with Classifier.of_artifact(artifact, threads=1) as opened:
        assert np.allclose(opened.logits(pixels), models.expected_logits(pixels), atol=1e-4)


def test_int8_artifact_answers_within_one_step(tmp_path: Path) -> None:
    manifest = dataclasses.replace(
        artifacts.tiny_manifest(),
        recipe="static_int8",
        signature=artifacts.int8_signature(),
        golden=artifacts.full_manifest().golden,
    )
    path = tmp_path / "int8.tflite"
    path.write_bytes(container_of("tflite").seal(models.int8_tflite_model(), manifest))
    pixels = models.random_pixels(6)
    with Classifier.open(path, threads=1) as opened:
        difference = opened.logits(pixels) - models.int8_expected_logits(pixels)
    assert np.abs(difference).max() <= models.INT8_OUTPUT[0]


@BOTH
def test_threads_that_share_an_engine_get_the_answers_of_one(
    tmp_path: Path, artifact_format: Format
) -> None:
    cells = list(models.random_pixels(64))
    with Classifier.open(artifacts.write_artifact(tmp_path, artifact_format), threads=1) as shared:
        alone = [shared.predict(cell) for cell in cells]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(shared.predict, cells))
    assert together == alone


@pytest.fixture
def opened_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """What the engine for TFLite is opened with, in place of LiteRT."""
    calls: list[tuple[bytes, int]] = []

    def open_fake(model: bytes, threads: int) -> Session:
        calls.append((model, threads))
        return FakeSession(artifacts.signature(), models.expected_logits)

    fake = Engine("fake", ("tflite",), "tflite", "numpy", open_fake)
    monkeypatch.setitem(ENGINES, "litert", fake)
    return calls


def test_engine_gets_the_bytes_that_were_checked(
    tmp_path: Path, opened_with: list[tuple[bytes, int]]
) -> None:
    path = artifacts.write_artifact(tmp_path, "tflite")
    artifact = read_artifact(path)
    path.write_bytes(b"changed after it was checked")
    Classifier.of_artifact(artifact, threads=1)
    assert opened_with == [(artifacts.tiny_artifact("tflite"), 1)]


def test_engine_gets_the_allowed_cpus_when_no_number_is_given(
    tmp_path: Path, opened_with: list[tuple[bytes, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "allowed_cpus", lambda: 7)
    path = artifacts.write_artifact(tmp_path, "tflite")
    opened = Classifier.open(path)
    given = Classifier.open(path, threads=3)
    assert [threads for _, threads in opened_with] == [7, 3]
    assert (opened.threads, opened.engine, given.threads) == (7, "fake", 3)


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_is_refused_when_it_is_below_one(tmp_path: Path, threads: int) -> None:
    path = artifacts.write_artifact(tmp_path, "onnx")
    with pytest.raises(EngineError, match=f"at least one thread, not {threads}"):
        Classifier.open(path, threads=threads)


def test_session_is_closed_when_the_manifest_is_of_another_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = FakeSession(artifacts.signature(5), lambda pixels: pixels)
    engine = Engine("fake", ("tflite",), "tflite", "numpy", lambda model, threads: session)
    monkeypatch.setitem(ENGINES, "litert", engine)
    with pytest.raises(ManifestError, match="The graph's input is"):
        Classifier.open(artifacts.write_artifact(tmp_path, "tflite"))
    with pytest.raises(EngineError, match="The session is closed"):
        session.run((models.random_pixels(5),))


def test_graph_is_refused_when_another_manifest_was_sealed_into_it(tmp_path: Path) -> None:
    manifest = artifacts.tiny_manifest("onnx", batch=2)
    path = tmp_path / "model.onnx"
    path.write_bytes(container_of("onnx").seal(models.onnx_model(1), manifest))
    with pytest.raises(ManifestError, match="The graph's input is"):
        Classifier.open(path)


BROKEN: dict[Format, bytes] = {
    "tflite": models.unknown_tflite_model(),
    "onnx": models.onnx_model().replace(b"Gemm", b"Gemn"),
}


@BOTH
def test_engine_error_is_said_when_a_sealed_graph_is_broken(
    tmp_path: Path, artifact_format: Format
) -> None:
    manifest = artifacts.tiny_manifest(artifact_format)
    path = tmp_path / f"model.{artifact_format}"
    path.write_bytes(container_of(artifact_format).seal(BROKEN[artifact_format], manifest))
    with pytest.raises(EngineError, match="refuses the model"):
        Classifier.open(path)


def test_savedmodel_is_refused_with_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    savedmodel.seal(tmp_path, artifacts.tiny_manifest("savedmodel"))
    with pytest.raises(
        EngineError, match=r"A SavedModel needs TensorFlow: use `edgecell evaluate`"
    ):
        Classifier.open(tmp_path)


def test_classifier_is_refused_when_the_artifact_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no artifact"):
        Classifier.open(tmp_path / "missing.tflite")
