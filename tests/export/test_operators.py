"""Operators in a row of a table: their number by name and dtypes."""

import pytest
from support import models

from edgecell_export.operators import Operator, Operators, onnx_operators, tflite_operators


@pytest.mark.parametrize(
    ("name", "dtypes", "short"),
    [
        ("CONV_2D", "int8, int8, int32 -> int8", "CONV_2D int8"),
        ("CONV_2D", "float32, int8, float32 -> float32", "CONV_2D float32/int8"),
        ("CONV_2D", "int16, int8, int64 -> int16", "CONV_2D int16/int8"),
        ("DEQUANTIZE", "float16 -> float32", "DEQUANTIZE float16/float32"),
        ("RESHAPE", "int8, int32 -> int8", "RESHAPE int8"),
        (
            "QLinearConv",
            "uint8, float32, uint8, int8, float32, int8, float32, uint8, int32 -> uint8",
            "QLinearConv uint8/int8",
        ),
        (
            "QGemm",
            "uint8, float32, uint8, int8, float32, int8, int32 -> float32",
            "QGemm uint8/int8/float32",
        ),
        (
            "DynamicQuantizeMatMul",
            "float32, int8, float32 -> float32",
            "DynamicQuantizeMatMul float32/int8",
        ),
        ("CALL_ONCE", " -> ", "CALL_ONCE"),
    ],
)
def test_short_name_tells_activations_weights_and_answers(
    name: str, dtypes: str, short: str
) -> None:
    assert Operator(name, dtypes, 1).short == short


def test_operators_are_added_up_by_short_name() -> None:
    found = Operators(
        (
            Operator("CONV_2D", "int8, int8, int32 -> int8", 2),
            Operator("ADD", "int8, int8 -> int8", 1),
            Operator("CONV_2D", "int8, int8 -> int8", 3),
        ),
        0,
    )
    assert found.by_kind == {"CONV_2D int8": 5, "ADD int8": 1}
    assert list(found.by_kind) == ["CONV_2D int8", "ADD int8"]


def test_operators_of_files_are_told_by_kind() -> None:
    assert tflite_operators(models.tflite_model()).by_kind == {
        "CAST uint8/float32": 1,
        "RESHAPE float32": 1,
        "FULLY_CONNECTED float32": 1,
    }
    assert tflite_operators(models.int8_tflite_model()).by_kind == {"FULLY_CONNECTED int8": 1}
    assert onnx_operators(models.onnx_model()).by_kind["Gemm float32"] == 1
