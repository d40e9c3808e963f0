"""Which images a query asks for, and what is kept of its answers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import artifacts, models
from support.pictures import encoded, gradient

from edgecell_runtime.bench.loop import Limits, time_block
from edgecell_runtime.bench.plan import Stage
from edgecell_runtime.bench.scenarios import PixelRows, Queries, Rotation, open_queries
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import DataError, EdgecellError, StorageError
from edgecell_runtime.heads import Head

COUNT = 7


@pytest.fixture
def pixels() -> np.ndarray:
    return models.random_pixels(COUNT, seed=3)


@pytest.fixture
def inputs(tmp_path: Path, pixels: np.ndarray) -> Path:
    np.save(tmp_path / f"{'x'.join(map(str, models.SIZE))}.npy", pixels)
    (tmp_path / "files").mkdir()
    return tmp_path


def _classifier(seen: list[np.ndarray] | None = None) -> Classifier:
    def answer(images: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(images.copy())
        return models.expected_logits(images).astype(np.float32)

    session = FakeSession(artifacts.signature(), answer)
    return Classifier(session, artifacts.tiny_manifest("onnx"), engine="fake")


@contextlib.contextmanager
def _opened(inputs: Path, stage: Stage, rotation: Rotation, **options: Any) -> Iterator[Queries]:
    with contextlib.closing(open_queries(_classifier(**options), stage, inputs, rotation)) as found:
        yield found


def test_rotation_asks_for_every_image_once_before_any_again() -> None:
    rotation = Rotation(COUNT, seed=5)
    first = [rotation.of(query, 1)[0] for query in range(COUNT)]
    assert sorted(first) == list(range(COUNT))
    assert first != list(range(COUNT))
    assert [rotation.of(query, 1)[0] for query in range(COUNT, 2 * COUNT)] == first


def test_rotation_of_batches_goes_through_the_same_order() -> None:
    rotation = Rotation(COUNT, seed=5)
    single = [rotation.of(query, 1)[0] for query in range(12)]
    assert [*rotation.of(0, 4), *rotation.of(1, 4), *rotation.of(2, 4)] == single


def test_rotation_begins_where_it_is_told() -> None:
    assert Rotation(COUNT, 5, first=3).of(0, 2) == Rotation(COUNT, 5).of(3, 1) + Rotation(
        COUNT, 5
    ).of(4, 1)


@pytest.mark.parametrize("batch", [1, 3])
def test_model_queries_ask_for_the_rows_of_their_images(
    inputs: Path, pixels: np.ndarray, batch: int
) -> None:
    seen: list[np.ndarray] = []
    rotation = Rotation(COUNT, seed=1)
    with _opened(inputs, "model", rotation, seen=seen) as queries:
        time_block(queries.subject(batch), 0, Limits(60.0, COUNT))
        found = queries.probabilities()
    wanted = [pixels[rotation.of(query, batch)] for query in range(COUNT)]
    assert np.array_equal(seen, wanted)
    logits = models.expected_logits(pixels).astype(np.float32).astype(np.float64)
    expected = Head("softmax").probabilities(logits, artifacts.LABELS)
    assert found == pytest.approx(expected)


def test_answers_are_forgotten_once_they_were_taken(inputs: Path) -> None:
    with _opened(inputs, "model", Rotation(COUNT, 0)) as queries:
        time_block(queries.subject(1), 0, Limits(60.0, 3))
        assert np.isnan(queries.probabilities()).all(axis=1).sum() == COUNT - 3
        assert np.isnan(queries.probabilities()).all()


def test_pipeline_takes_files_and_stored_arrays(inputs: Path, pixels: np.ndarray) -> None:
    for number in range(COUNT):
        np.save(inputs / "array.npy", pixels[number])
        (inputs / "array.npy").rename(inputs / "files" / str(number))
    (inputs / "files/0").write_bytes(encoded(gradient(), "PNG"))
    classifier = _classifier()
    queries = open_queries(classifier, "pipeline", inputs, Rotation(COUNT, 0))
    time_block(queries.subject(2), 0, Limits(60.0, COUNT))
    found = queries.probabilities()
    assert found[1:] == pytest.approx(classifier.probabilities(pixels)[1:])
    cell = classifier.predict((inputs / "files/0").read_bytes())
    assert found[0].tolist() == pytest.approx(list(cell.probabilities.values()))


def test_pixels_of_another_shape_or_number_are_refused(inputs: Path) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        open_queries(_classifier(), "model", inputs, Rotation(COUNT + 1, 0))


@pytest.mark.parametrize("data", [None, b"", b"no array", b"\x93NUMPY\x07\x00"])
def test_pixels_that_cannot_be_read_are_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "8x8x3.npy"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StorageError, match="cannot be read"):
        PixelRows(path, 1, (8, 8, 3))


def test_pixels_that_were_cut_short_are_noticed(inputs: Path) -> None:
    path = inputs / f"{'x'.join(map(str, models.SIZE))}.npy"
    with contextlib.closing(PixelRows(path, COUNT, models.SIZE)) as rows:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(StorageError, match="cut short"):
            rows.read_into(np.zeros(models.SIZE, np.uint8), COUNT - 1)


def test_image_file_that_is_gone_is_said(inputs: Path) -> None:
    queries = open_queries(_classifier(), "pipeline", inputs, Rotation(COUNT, 0))
    with pytest.raises(EdgecellError, match="cannot be read"):
        queries.subject(1).prepare(0)
