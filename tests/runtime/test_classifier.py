"""The classifier around a session: what it answers, and what it refuses."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError, ImageError, ManifestError
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import QuantizationParams, Signature, TensorSpec

MANIFEST = artifacts.tiny_manifest()
CELL = models.random_pixels(1)[0]

Answer = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def constant(*logits: float, dtype: str = "float32") -> Answer:
    return lambda pixels: np.tile(np.array(logits, dtype), (len(pixels), 1))


def classifier(answer: Answer, manifest: Manifest = MANIFEST, **changes: Any) -> Classifier:
    manifest = dataclasses.replace(manifest, **changes)
    return Classifier(FakeSession(manifest.signature, answer), manifest)


def test_prediction_tells_label_probability_and_decision() -> None:
    prediction = classifier(constant(1.0, 0.0)).predict(CELL)
    share = np.e / (np.e + 1)
    assert prediction.label == "Parasitized"
    assert prediction.probability == pytest.approx(share)
    assert dict(prediction.probabilities) == {
        "Parasitized": pytest.approx(share),
        "Uninfected": pytest.approx(1 - share),
    }
    assert prediction.positive is True


def test_prediction_is_made_of_plain_python_values() -> None:
    prediction = classifier(constant(1.0, 0.0)).predict(CELL)
    assert [type(value) for value in prediction.probabilities.values()] == [float, float]
    assert (type(prediction.probability), type(prediction.positive)) == (float, bool)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, True), (np.nextafter(0.5, 1), False), (0.0, True), (1, False)]
)
def test_decision_is_positive_from_the_threshold_on(threshold: float, expected: bool) -> None:
    prediction = classifier(constant(0.0, 0.0), threshold=float(threshold)).predict(CELL)
    assert prediction.probabilities["Parasitized"] == 0.5
    assert prediction.positive is expected


def test_decision_may_differ_from_the_label_when_the_threshold_is_low() -> None:
    prediction = classifier(constant(0.0, 1.0), threshold=0.2).predict(CELL)
    assert (prediction.label, prediction.positive) == ("Uninfected", True)


def test_decision_is_none_when_there_is_no_positive_label() -> None:
    assert classifier(constant(1.0, 0.0), positive_label=None).predict(CELL).positive is None


def test_temperature_calms_the_probability_and_keeps_the_label() -> None:
    cold = classifier(constant(2.0, 0.0)).predict(CELL)
    warm = classifier(constant(2.0, 0.0), temperature=2.0).predict(CELL)
    assert warm.label == cold.label
    assert warm.probability == pytest.approx(np.e / (np.e + 1))
    assert warm.probability < cold.probability


@pytest.mark.parametrize("named", artifacts.LABELS)
def test_sigmoid_output_is_the_probability_of_the_named_label(named: str) -> None:
    signature = artifacts.signature(outputs=1)
    head = Head("sigmoid", named)
    prediction = classifier(constant(3.0), signature=signature, head=head).predict(CELL)
    assert prediction.label == named
    assert prediction.probabilities[named] == pytest.approx(1 / (1 + np.exp(-3)))
    assert prediction.positive is (named == "Parasitized")


def test_labels_keep_the_order_of_the_outputs() -> None:
    labels = ("z", "a", "m")
    signature = artifacts.signature(outputs=3)
    answer = constant(0.0, 5.0, 1.0)
    three = classifier(answer, labels=labels, signature=signature, positive_label="m")
    assert three.labels == labels
    assert three.predict(CELL).label == "a"
    assert list(three.predict(CELL).probabilities) == list(labels)


def test_prediction_is_refused_when_the_classifier_is_closed() -> None:
    with classifier(constant(1.0, 0.0)) as opened:
        opened.predict(CELL)
    with pytest.raises(EngineError, match="The session is closed"):
        opened.predict(CELL)
    opened.close()


def test_prediction_is_refused_when_the_image_is_none() -> None:
    with pytest.raises(ImageError, match="not an image"):
        classifier(constant(1.0, 0.0)).predict(b"no image")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prediction_is_refused_when_an_output_is_not_a_number(value: float) -> None:
    with pytest.raises(EngineError, match="values that are not numbers"):
        classifier(constant(value, 0.0)).predict(CELL)


PIXELS = models.random_pixels(2)


@pytest.mark.parametrize(
    "pixels",
    [
        PIXELS.astype(np.float32) / 255,
        PIXELS.astype(np.int16),
        PIXELS[0],
        PIXELS[:, :7],
        PIXELS[..., :1],
        np.array(1, np.uint8),
    ],
    ids=["float", "int16", "one image", "size", "channels", "scalar"],
)
def test_pixels_are_refused_when_dtype_or_shape_differ(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match=r"expected uint8 of shape \(n, 8, 8, 3\)"):
        classifier(constant(1.0, 0.0)).probabilities(pixels)


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_probabilities_are_an_empty_array_when_there_are_no_pixels(batch: int | None) -> None:
    empty = classifier(constant(1.0, 0.0), signature=artifacts.signature(batch))
    assert empty.probabilities(PIXELS[:0]).shape == (0, 2)


def linear(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    return models.expected_logits(pixels.astype(np.uint8)).astype(np.float32)


@pytest.mark.parametrize(("batch", "calls"), [(None, 1), (1, 6), (2, 3), (3, 2), (6, 1)])
def test_fixed_batches_are_filled_one_after_another(batch: int | None, calls: int) -> None:
    manifest = dataclasses.replace(MANIFEST, signature=artifacts.signature(batch))
    session = FakeSession(manifest.signature, linear)
    pixels = models.random_pixels(6)
    logits = Classifier(session, manifest).logits(pixels)
    assert np.allclose(logits, models.expected_logits(pixels), atol=1e-5)
    assert (logits.dtype, session.calls) == (np.float64, calls)


@pytest.mark.parametrize(("count", "runs"), [(0, 0), (1, 1), (4, 1), (6, 2)])
def test_fixed_batches_are_filled_up_and_what_fills_them_is_left_out(count: int, runs: int) -> None:
    given: list[NDArray[np.generic]] = []

    def answer(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        given.append(pixels)
        return linear(pixels)

    pixels = models.random_pixels(6)[:count]
    found = classifier(answer, signature=artifacts.signature(4)).logits(pixels)
    assert [len(batch) for batch in given] == [4] * runs
    assert np.array_equal(found, classifier(linear).logits(pixels))


def test_quantised_ends_are_encoded_and_decoded() -> None:
    given: list[NDArray[np.generic]] = []

    def answer(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        given.append(pixels)
        return np.array([[127, -128]], np.int8)

    quantised = classifier(answer, signature=artifacts.int8_signature())
    logits = quantised.logits(CELL[None])
    assert given[0].dtype == np.int8
    assert np.array_equal(given[0].astype(int), CELL[None].astype(int) - 128)
    assert logits.tolist() == [[(127 - 3) * 0.25, (-128 - 3) * 0.25]]


def test_engine_need_not_know_the_quantisation_of_a_graphs_ends() -> None:
    # ONNX Runtime states a dtype only; the manifest says what it means.
    written = artifacts.int8_signature()
    found = Signature(
        tuple(dataclasses.replace(spec, quantization=None) for spec in written.inputs),
        tuple(dataclasses.replace(spec, quantization=None) for spec in written.outputs),
    )
    manifest = dataclasses.replace(MANIFEST, signature=written)
    opened = Classifier(FakeSession(found, constant(7, 3, dtype="int8")), manifest)
    assert opened.logits(CELL[None]).tolist() == [[1.0, 0.0]]


def changed(spec: TensorSpec, **changes: Any) -> tuple[TensorSpec, ...]:
    return (dataclasses.replace(spec, **changes),)


FLOAT, INT8 = artifacts.signature(1), artifacts.int8_signature()
(IN,), (OUT,) = FLOAT.inputs, FLOAT.outputs
OTHER = QuantizationParams(0.5, 0)


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        (Signature(changed(IN, dtype="float32"), (OUT,)), FLOAT, "The graph's input is"),
        (Signature(changed(IN, shape=(1, 9, 8, 3)), (OUT,)), FLOAT, "The graph's input is"),
        (Signature(changed(IN, shape=(None, 8, 8, 3)), (OUT,)), FLOAT, "The graph's input is"),
        (Signature((IN,), changed(OUT, dtype="int16")), FLOAT, "The graph's output is"),
        (Signature((IN,), changed(OUT, shape=(1, 3))), FLOAT, "The graph's output is"),
        (Signature((IN, IN), (OUT,)), FLOAT, "The graph has 2 inputs and its manifest names 1"),
        (Signature((IN,), ()), FLOAT, "The graph has 0 outputs and its manifest names 1"),
        (FLOAT, Signature((IN,), (OUT, OUT)), "has 1 outputs and its manifest names 2"),
        (
            Signature(changed(INT8.inputs[0], quantization=OTHER), INT8.outputs),
            INT8,
            "The graph's input is",
        ),
        (
            Signature(INT8.inputs, changed(INT8.outputs[0], quantization=OTHER)),
            INT8,
            "The graph's output is",
        ),
    ],
)
def test_classifier_is_refused_when_graph_and_manifest_differ(
    found: Signature, written: Signature, message: str
) -> None:
    manifest = dataclasses.replace(MANIFEST, signature=written)
    with pytest.raises(ManifestError, match=message):
        Classifier(FakeSession(found, linear), manifest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signature": artifacts.signature(size=(9, 8, 3))}, "its preprocessing gives"),
        ({"signature": artifacts.signature(size=(8, 8, 1))}, "its preprocessing gives"),
        ({"signature": artifacts.signature(outputs=3)}, "head and labels need 2 outputs"),
        ({"head": Head("sigmoid", "Parasitized")}, "head and labels need 1 outputs"),
        (
            {"signature": Signature(changed(INT8.inputs[0], quantization=None), INT8.outputs)},
            "int8, and its manifest gives it no scale",
        ),
    ],
)
def test_classifier_is_refused_when_its_manifest_contradicts_itself(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        classifier(linear, **changes)


def test_threads_that_share_a_classifier_get_the_answers_of_one() -> None:
    shared = classifier(linear)
    cells = list(models.random_pixels(64))
    alone = [shared.predict(cell) for cell in cells]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(shared.predict, cells))
    assert together == alone


def test_session_is_never_entered_by_two_threads_at_once() -> None:
    inside: list[int] = []
    most: list[int] = []

    def answer(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        inside.append(1)
        for _ in range(50):
            most.append(len(inside))
            np.linalg.norm(pixels)  # lets other threads run
        inside.pop()
        return linear(pixels)

    shared = classifier(answer)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shared.predict, models.random_pixels(32)))
    assert max(most) == 1
