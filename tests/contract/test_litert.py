import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from contract.session_contract import ModelFileContract
from support import artifacts, models

from edgecell_runtime.engines import litert
from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError, MissingPartError
from edgecell_runtime.signature import dequantize, encode_pixels


class TestLiteRTSession(ModelFileContract):
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return litert.ENGINE.open(models.tflite_model(batch), threads)

    def open_bytes(self, model: bytes) -> Session:
        return litert.ENGINE.open(model, 1)

    def model(self) -> bytes:
        return models.tflite_model(1)


def test_signature_states_the_quantisation_of_both_ends() -> None:
    with litert.ENGINE.open(models.int8_tflite_model(), 1) as session:
        assert session.signature == artifacts.int8_signature()


def test_int8_graph_answers_within_one_step() -> None:
    pixels = models.random_pixels(1)
    with litert.ENGINE.open(models.int8_tflite_model(), 1) as session:
        given, wanted = session.signature.inputs[0], session.signature.outputs[0]
        (steps,) = session.run((encode_pixels(pixels, given),))
    assert wanted.quantization is not None
    real = dequantize(steps, wanted.quantization)
    difference = np.abs(real - models.int8_expected_logits(pixels))
    assert difference.max() <= wanted.quantization.scale
    assert np.abs(real).min() > wanted.quantization.scale  # or the line above would show nothing


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (schema.TensorType.INT32, [1, 2]),
        (schema.TensorType.FLOAT32, [2]),
        (schema.TensorType.FLOAT32, [1, 2, 3]),
    ],
)
def test_model_is_refused_when_no_classifier_has_such_a_tensor(kind: int, shape: list[int]) -> None:
    with pytest.raises(EngineError, match="The model's tensor tensor is of the type"):
        litert.ENGINE.open(models.odd_tflite_model(kind, shape), 1)


def test_model_is_refused_when_a_scale_is_negative() -> None:
    model = models.odd_tflite_model(schema.TensorType.INT8, [1, 2], scale=(-1.0, 0))
    with pytest.raises(EngineError, match="a scale is above zero"):
        litert.ENGINE.open(model, 1)


def test_missing_library_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingPartError, match=r"pip install 'edgecell\[tflite\]'"):
        litert.ENGINE.open(models.tflite_model(1), 1)
