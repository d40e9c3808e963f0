"""Many images: in order, in several threads, never far ahead, with errors in their places."""

import io
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models
from support.pictures import encoded, gradient

from edgecell_runtime.bulk import CHUNK, map_in_order
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError, ImageError, UsageError

Pixels = NDArray[np.uint8]
CELL = models.random_pixels(1)[0]


@pytest.fixture
def classifier() -> Classifier:
    manifest = artifacts.tiny_manifest()
    return Classifier(FakeSession(manifest.signature, models.expected_logits), manifest)


def test_answers_are_those_of_predict_in_order(classifier: Classifier) -> None:
    cells = list(models.random_pixels(5 * CHUNK + 3))
    alone = [classifier.predict(cell) for cell in cells]
    assert list(classifier.predict_many(cells)) == alone
    assert list(classifier.predict_many(iter(cells), workers=7)) == alone
    assert len({answer.probability for answer in alone}) > CHUNK


def test_nothing_gives_nothing(classifier: Classifier) -> None:
    assert list(classifier.predict_many([])) == []


def test_every_kind_of_image_is_taken(classifier: Classifier) -> None:
    picture = gradient(8, 8)
    data = encoded(picture, "PNG")
    kinds = [
        np.asarray(picture),
        picture,
        data,
        bytearray(data),
        memoryview(data),
        io.BytesIO(data),
    ]
    answers = list(classifier.predict_many(kinds))
    assert answers == [answers[0]] * len(kinds)


def test_unreadable_image_is_raised_in_its_place(classifier: Classifier) -> None:
    cells: list[Pixels | bytes] = [*models.random_pixels(CHUNK + 4)]
    cells[CHUNK + 2] = b"no image"
    answers = classifier.predict_many(cells)
    assert len(list(itertools.islice(answers, CHUNK + 2))) == CHUNK + 2
    with pytest.raises(ImageError, match="not an image that can be read"):
        next(answers)
    assert list(answers) == []


def test_unreadable_images_are_answers_when_exceptions_are_returned(
    classifier: Classifier,
) -> None:
    cells: list[Pixels | bytes] = [*models.random_pixels(40)]
    cells[0] = cells[17] = cells[18] = b"no image"
    answers = list(classifier.predict_many(cells, return_exceptions=True))
    kinds = [type(answer) for answer in answers]
    assert [place for place, kind in enumerate(kinds) if kind is ImageError] == [0, 17, 18]
    assert kinds.count(Prediction) == 37
    assert answers[39] == classifier.predict(cells[39])


def test_images_are_taken_only_a_little_ahead_of_the_answers(classifier: Classifier) -> None:
    taken = 0

    def camera() -> Iterator[Pixels]:
        nonlocal taken
        for taken in itertools.count(1):  # noqa: B007 - looked at below
            yield models.random_pixels(1)[0]

    answers = classifier.predict_many(camera(), workers=2)
    for given in range(1, 200):
        next(answers)
        assert taken - given <= CHUNK * 6
    answers.close()


def test_error_of_the_iterable_comes_after_the_answers_before_it(classifier: Classifier) -> None:
    def broken() -> Iterator[Pixels]:
        yield from models.random_pixels(CHUNK + 1)
        raise OSError("the disk is gone")

    answers = classifier.predict_many(broken())
    assert len(list(itertools.islice(answers, CHUNK + 1))) == CHUNK + 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


def test_engine_error_ends_the_answers(classifier: Classifier) -> None:
    answers = classifier.predict_many(itertools.repeat(models.random_pixels(1)[0]))
    next(answers)
    classifier.close()
    with pytest.raises(EngineError, match="The session is closed"):
        list(itertools.islice(answers, 100 * CHUNK))


def test_threads_end_when_the_answers_are_left_alone(classifier: Classifier) -> None:
    before = threading.active_count()
    answers = classifier.predict_many(itertools.repeat(models.random_pixels(1)[0]), workers=4)
    next(answers)
    assert threading.active_count() > before
    answers.close()
    assert threading.active_count() == before


def test_work_is_shared_between_threads() -> None:
    together = threading.Barrier(3, timeout=20)

    def answer(items: list[int]) -> list[int]:
        together.wait()  # breaks unless three threads are in here at once
        return [item * 2 for item in items]

    doubled = list(map_in_order(answer, range(6), workers=3, chunk=1))
    assert doubled == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("one", ["cell.png", b"bytes", Path("cell.png"), CELL, CELL[:, :, 0]])
def test_one_image_is_refused_with_what_to_call(classifier: Classifier, one: object) -> None:
    with pytest.raises(ImageError, match="given one; put it into a list, or call predict"):
        list(classifier.predict_many(one))


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_workers_than_one_are_refused(workers: int) -> None:
    with pytest.raises(UsageError, match=f"at least one worker, not by {workers}"):
        list(map_in_order(lambda items: items, range(3), workers=workers))


@pytest.mark.parametrize("workers", [0, -1])
def test_classifier_refuses_fewer_workers_than_one(classifier: Classifier, workers: int) -> None:
    with pytest.raises(UsageError, match="at least one worker"):
        list(classifier.predict_many([CELL], workers=workers))
