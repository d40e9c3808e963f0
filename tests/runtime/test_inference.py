"""Graphs for one image that are given several at once: only where no answer changes."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.engines import ENGINES
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError
from edgecell_runtime.inference import TOGETHER, Inference

Array = NDArray[np.generic]
PIXELS = models.random_pixels(3 * TOGETHER + 5)
MANIFEST = artifacts.tiny_manifest(batch=1)


class Growing(FakeSession):
    """A graph for one image whose engine takes more, and answers ``together`` to them."""

    def __init__(self, together: Callable[[Array], Array]) -> None:
        super().__init__(MANIFEST.signature, models.expected_logits)
        self.sizes: list[int] = []
        self._many = together

    def run_together(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        self.sizes.append(len(inputs[0]))
        return (self._many(inputs[0]),)


def failing(pixels: Array) -> Array:
    raise EngineError("No room.")


def test_images_go_together_once_that_has_given_the_answers_of_one_at_a_time() -> None:
    session = Growing(models.expected_logits)
    found = Inference(session, MANIFEST).outputs(PIXELS)
    assert np.array_equal(found, np.concatenate([models.expected_logits(x[None]) for x in PIXELS]))
    assert session.sizes == [TOGETHER] * 3
    assert session.calls == TOGETHER + 5  # the first chunk by way of proof, and the rest


@pytest.mark.parametrize(
    "together",
    [
        lambda pixels: models.expected_logits(pixels) + 1e-6,
        lambda pixels: np.zeros((1, 2)),
        failing,
    ],
    ids=["a little off", "another shape", "failing"],
)
def test_images_go_one_by_one_where_together_they_would_answer_otherwise(
    together: Callable[[Array], Array],
) -> None:
    session = Growing(together)
    inference = Inference(session, MANIFEST)
    for _ in range(2):
        found = inference.outputs(PIXELS)
        assert np.array_equal(
            found, np.concatenate([models.expected_logits(x[None]) for x in PIXELS])
        )
    assert session.sizes == [TOGETHER]


def test_few_images_go_one_by_one() -> None:
    session = Growing(models.expected_logits)
    Inference(session, MANIFEST).outputs(PIXELS[: TOGETHER - 1])
    assert session.sizes == []


def test_litert_takes_more_than_the_graph_was_written_for_and_goes_back_to_one() -> None:
    with ENGINES["litert"].open(models.tflite_model(1), 1) as session:
        for count in (1, 7, 1, TOGETHER, 3, 1):
            run = session.run if count == 1 else session.run_together
            (found,) = run((PIXELS[:count],))
            assert np.allclose(found, models.expected_logits(PIXELS[:count]), atol=1e-4)
        with pytest.raises(EngineError, match="LiteRT failed"):
            session.run((PIXELS[:2],))
        assert session.run((PIXELS[:1],))[0].shape == (1, 2)


def test_other_engines_say_that_they_cannot() -> None:
    with (
        ENGINES["onnxruntime"].open(models.onnx_model(1), 1) as session,
        pytest.raises(EngineError, match="batches of the signature's size only"),
    ):
        session.run_together((PIXELS,))
