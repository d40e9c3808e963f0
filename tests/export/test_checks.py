from pathlib import Path

import numpy as np
import pytest
from support.small_run import Conversions

from edgecell_export.formats import CONVERTERS, tflite
from edgecell_export.formats.tflite import spanning
from edgecell_export.operators import Operator
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import RecipeError
from edgecell_runtime.signature import PIXELS, QuantizationParams


@pytest.mark.parametrize(
    ("artifact_format", "recipe", "message"),
    [
        ("tflite", "static_int8", "promises integer kernels, but CAST, CONV_2D"),
        ("tflite", "dynamic_int8", "promises int8 weights, but the file has none"),
        ("tflite", "float16", "promises float16 weights, but the file has none"),
        ("onnx", "static_int8", "promises integer kernels, but ONNX Runtime runs .*Conv"),
        ("onnx", "dynamic_int8", "promises 8-bit dense layers, but ONNX Runtime runs none"),
    ],
)
def test_float_file_is_refused_when_it_is_passed_off_as_another_recipe(
    conversions: Conversions, artifact_format: str, recipe: str, message: str
) -> None:
    path = conversions.path(artifact_format, "float32")
    with pytest.raises(RecipeError, match=f"{recipe} {message}"):
        CONVERTERS[artifact_format].check(path, RECIPES[recipe])


@pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
def test_dynamic_int8_is_refused_when_it_is_passed_off_as_static(
    conversions: Conversions, artifact_format: str
) -> None:
    path = conversions.path(artifact_format, "dynamic_int8")
    with pytest.raises(RecipeError, match="static_int8 promises integer kernels"):
        CONVERTERS[artifact_format].check(path, RECIPES["static_int8"])


def test_tflite_static_int8_is_refused_when_calibration_set_another_input_scale(
    conversions: Conversions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "spanning", lambda images: images // 2)
    converter = CONVERTERS["tflite"]
    converter.convert(conversions.conversion("static_int8"), tmp_path / "model.tflite")
    image = converter.signature(tmp_path / "model.tflite").inputs[0]
    assert image.quantization not in (None, PIXELS)
    with pytest.raises(RecipeError, match="promises uint8 pixels with scale 1/255"):
        converter.check(tmp_path / "model.tflite", RECIPES["static_int8"])


@pytest.mark.parametrize("other", [QuantizationParams(1 / 128, 0), QuantizationParams(1 / 255, 3)])
def test_onnx_static_int8_is_refused_when_its_input_is_quantised_otherwise(
    conversions: Conversions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: QuantizationParams,
) -> None:
    converter = CONVERTERS["onnx"]
    with monkeypatch.context() as patched:
        patched.setattr("edgecell_export.formats.onnx.PIXELS", other)
        converter.convert(conversions.conversion("static_int8"), tmp_path / "model.onnx")
    with pytest.raises(RecipeError, match="promises uint8 pixels with scale 1/255"):
        converter.check(tmp_path / "model.onnx", RECIPES["static_int8"])


def test_spanning_changes_at_most_the_darkest_and_the_brightest_value() -> None:
    images = np.random.default_rng(0).integers(20, 200, (4, 5, 5, 3), np.uint8)
    spanned = spanning(images)
    assert (spanned.min(), spanned.max()) == (0, 255)
    assert np.count_nonzero(spanned != images) == 2
    assert images.min() >= 20  # a copy


@pytest.mark.parametrize(
    ("dtypes", "integer"),
    [
        ("int8, int8, int32 -> int8", True),
        ("uint8 -> int8", True),
        ("uint8 -> float32", False),
        ("float16 -> float32", False),
        ("int8 -> ?", False),
    ],
)
def test_operator_is_integer_when_every_dtype_is(dtypes: str, integer: bool) -> None:
    assert Operator("any", dtypes, 1).integer is integer
