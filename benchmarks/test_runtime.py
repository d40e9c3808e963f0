"""What the runtime costs around the engine: ``pytest benchmarks/``; needs no trained model.

The graphs are the tests' hand-made ones, which compute next to nothing, so that what is left is
reading, decoding, checking and calling. The cell has the size of a real one. The loop of ``edgecell
bench`` times, pytest-benchmark reports.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_reporting import timed_by_loop
from PIL import Image
from support import artifacts, models, pictures

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench.loop import Subject
from edgecell_runtime.classifier import Classifier, Prediction

Measured = Callable[[Subject[Any, Any]], Any]

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


@timed_by_loop("Classifier.predict")
def test_predict_from_png_file(
    measured: Measured, classifier: Classifier, png: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "cell.png"
    path.write_bytes(png)
    assert_answers(measured(asking(classifier.predict, path)))


@timed_by_loop("Classifier.predict")
def test_predict_from_bytes(measured: Measured, classifier: Classifier, png: bytes) -> None:
    assert_answers(measured(asking(classifier.predict, png)))


@timed_by_loop("Classifier.predict")
def test_predict_from_array_of_the_right_size(measured: Measured, classifier: Classifier) -> None:
    assert_answers(measured(asking(classifier.predict, models.random_pixels(1)[0])))


@timed_by_loop("Classifier.predict_many")
def test_predict_many_from_64_png_files(
    measured: Measured, classifier: Classifier, png: bytes, tmp_path: Path
) -> None:
    paths = [tmp_path / f"cell-{number}.png" for number in range(64)]
    for path in paths:
        path.write_bytes(png)
    predictions = measured(asking(lambda every: list(classifier.predict_many(every)), paths))
    assert len(predictions) == 64
    assert_answers(predictions[0])


@timed_by_loop("opening an artifact")
def test_read_artifact(measured: Measured, artifact: Path) -> None:
    """Reading, hash and manifest, without the engine."""
    assert measured(asking(read_artifact, artifact)).manifest.labels == artifacts.LABELS


@timed_by_loop("opening an artifact")
def test_open_classifier(measured: Measured, artifact: Path) -> None:
    def open_and_close(path: Path) -> tuple[str, ...]:
        with Classifier.open(path, threads=1) as opened:
            return opened.labels

    assert measured(asking(open_and_close, artifact)) == artifacts.LABELS


def asking(ask: Callable[[Any], Any], argument: object) -> Subject[Any, Any]:
    """The same question again and again."""
    return Subject(lambda _query: argument, ask)


def assert_answers(prediction: Prediction) -> None:
    assert prediction.label in artifacts.LABELS
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
