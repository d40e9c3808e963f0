"""What the runtime costs around the engine: ``pytest benchmarks/``; needs no trained model.

The graphs are the tests' hand-made ones, which compute next to nothing, so that what is left is
reading, decoding, checking and calling. The cell has the size of a real one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from support import artifacts, models, pictures

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.engines import engine_for
from edgecell_runtime.manifest import Format

_CELL = (132, 130)
"""Width and height of a common cell at its original size."""


@pytest.fixture(params=["tflite", "onnx"])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, request.param)


@pytest.fixture
def classifier(artifact: Path) -> Iterator[Classifier]:
    with Classifier.open(artifact, threads=1) as opened:
        yield opened


@pytest.fixture
def png() -> bytes:
    """A noisy cell on black: PNG neither shrinks it to nothing nor fails to compress it."""
    width, height = _CELL
    rows, columns = np.ogrid[:height, :width]
    inside = ((rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2 < 0.22)[..., np.newaxis]
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 3))
    cell = np.where(inside, np.array((210, 160, 170)) + noise, 0).astype(np.uint8)
    return pictures.encoded(Image.fromarray(cell), "PNG")


@pytest.mark.benchmark(group="Classifier.predict")
def test_predict_from_png_file(
    benchmark: BenchmarkFixture, classifier: Classifier, png: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "cell.png"
    path.write_bytes(png)
    assert_answers(benchmark(classifier.predict, path))


@pytest.mark.benchmark(group="Classifier.predict")
def test_predict_from_bytes(
    benchmark: BenchmarkFixture, classifier: Classifier, png: bytes
) -> None:
    assert_answers(benchmark(classifier.predict, png))


@pytest.mark.benchmark(group="Classifier.predict")
def test_predict_from_array_of_the_right_size(
    benchmark: BenchmarkFixture, classifier: Classifier
) -> None:
    assert_answers(benchmark(classifier.predict, models.random_pixels(1)[0]))


@pytest.mark.benchmark(group="Classifier.predict_many")
def test_predict_many_from_64_png_files(
    benchmark: BenchmarkFixture, classifier: Classifier, png: bytes, tmp_path: Path
) -> None:
    paths = [tmp_path / f"cell-{number}.png" for number in range(64)]
    for path in paths:
        path.write_bytes(png)
    predictions = benchmark(lambda: list(classifier.predict_many(paths)))
    assert len(predictions) == 64
    assert_answers(predictions[0])


@pytest.mark.benchmark(group="Session.run")
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_session_run(benchmark: BenchmarkFixture, form: Format) -> None:
    pixels = models.random_pixels(1)
    with engine_for(form).open(artifacts.tiny_model(form), 1) as session:
        (logits,) = benchmark(session.run, (pixels,))
    np.testing.assert_allclose(logits, models.expected_logits(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.benchmark(group="opening an artifact")
def test_read_artifact(benchmark: BenchmarkFixture, artifact: Path) -> None:
    """Reading, hash and manifest, without the engine."""
    assert benchmark(read_artifact, artifact).manifest.labels == artifacts.LABELS


@pytest.mark.benchmark(group="opening an artifact")
def test_open_classifier(benchmark: BenchmarkFixture, artifact: Path) -> None:
    def open_and_close() -> tuple[str, ...]:
        with Classifier.open(artifact, threads=1) as opened:
            return opened.labels

    open_and_close()  # the engine's library is imported once
    assert benchmark(open_and_close) == artifacts.LABELS


def assert_answers(prediction: Prediction) -> None:
    assert prediction.label in artifacts.LABELS
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
