import dataclasses
from pathlib import Path

import pytest
from support.small_run import Conversions

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.operators import Operator
from edgecell_export.pixels import PixelFile
from edgecell_runtime.errors import RecipeError
from edgecell_runtime.signature import PIXELS, QuantizationParams


@pytest.mark.parametrize(
    ("artifact_format", "recipe", "message"),
    [
        ("tflite", "static_int8", "promises integer kernels, but CAST, CONV_2D"),
        ("tflite", "dynamic_int8", "promises int8 weights with float32 activations, but the layer"),
        (
            "tflite",
            "float16",
            "promises float16 weights unpacked for float32 .*has float32 weights",
        ),
        ("onnx", "static_int8", "promises integer kernels, but ONNX Runtime runs .*Conv"),
        ("onnx", "dynamic_int8", "promises 8-bit dense layers, but ONNX Runtime runs none"),
    ],
)
def test_float_file_is_refused_when_it_is_passed_off_as_another_recipe(
    conversions: Conversions, artifact_format: str, recipe: str, message: str
) -> None:
    path = conversions.path(artifact_format, "float32")
    with pytest.raises(RecipeError, match=f"{recipe} {message}"):
        CONVERTERS[artifact_format].check(path, conversions.conversion(recipe))


@pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
def test_dynamic_int8_is_refused_when_it_is_passed_off_as_static(
    conversions: Conversions, artifact_format: str
) -> None:
    path = conversions.path(artifact_format, "dynamic_int8")
    with pytest.raises(RecipeError, match="static_int8 promises integer kernels"):
        CONVERTERS[artifact_format].check(path, conversions.conversion("static_int8"))


def dark(conversions: Conversions, folder: Path) -> Conversion:
    """A conversion whose calibration images are half as bright."""
    pixels = PixelFile(folder / "dark", conversions.calibration.shape)
    pixels.append(conversions.calibration.first(100) // 2)
    return dataclasses.replace(conversions.conversion("static_int8"), calibration=pixels)


def test_tflite_static_int8_takes_pixels_as_they_are_when_calibration_images_are_dark(
    conversions: Conversions, tmp_path: Path
) -> None:
    converter, conversion = CONVERTERS["tflite"], dark(conversions, tmp_path)
    converter.convert(conversion, tmp_path / "model.tflite")
    converter.check(tmp_path / "model.tflite", conversion)
    assert converter.signature(tmp_path / "model.tflite").inputs[0].quantization == PIXELS


def test_tflite_static_int8_is_refused_when_calibration_set_the_input_scale(
    conversions: Conversions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TFLiteGraph, "set_ranges", lambda *_: None)
    converter, conversion = CONVERTERS["tflite"], dark(conversions, tmp_path)
    converter.convert(conversion, tmp_path / "model.tflite")
    image = converter.signature(tmp_path / "model.tflite").inputs[0]
    assert image.quantization not in (None, PIXELS)
    with pytest.raises(RecipeError, match="promises uint8 pixels with scale 1/255"):
        converter.check(tmp_path / "model.tflite", conversion)


@pytest.mark.parametrize("other", [QuantizationParams(1 / 128, 0), QuantizationParams(1 / 255, 3)])
def test_onnx_static_int8_is_refused_when_its_input_is_quantised_otherwise(
    conversions: Conversions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: QuantizationParams,
) -> None:
    converter = CONVERTERS["onnx"]
    with monkeypatch.context() as patched:
        patched.setattr("edgecell_export.formats.onnx_integers.PIXELS", other)
        patched.setattr("edgecell_export.formats.onnx_static.PIXELS", other)
        converter.convert(conversions.conversion("static_int8"), tmp_path / "model.onnx")
    with pytest.raises(RecipeError, match="promises uint8 pixels with scale 1/255"):
        converter.check(tmp_path / "model.onnx", conversions.conversion("static_int8"))


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
