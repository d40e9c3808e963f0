"""TFLite, through TensorFlow's converter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import Conversion
from edgecell_export.formats.single_file import SingleFileConverter
from edgecell_export.keras_chain import build_model
from edgecell_export.operators import Operators, tflite_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.prepare import taking_fractions
from edgecell_export.recipes import Recipe
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import ConversionError, EdgecellError, RecipeError
from edgecell_runtime.signature import PIXELS, Signature


class TFLiteConverter(SingleFileConverter):
    """Writes ``.tflite`` files with a batch of one."""

    format = "tflite"
    suffix = ".tflite"
    recipes = ("float32", "float16", "dynamic_int8", "static_int8")
    lacking = {}  # noqa: RUF012 - declared as a ClassVar in the base

    def convert(self, conversion: Conversion, path: Path) -> None:
        tensorflow = import_tensorflow()
        with converter_output() as output:
            try:
                model = _convert(tensorflow, conversion)
            except EdgecellError:
                raise
            except Exception as error:  # noqa: BLE001 - converters raise of every kind
                failure = error
            else:
                path.write_bytes(model)
                return
        raise ConversionError(
            f"TensorFlow's TFLite converter failed: {failure}. It printed: {output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        with converter_output(), engine_for(self.format).open(path.read_bytes(), 1) as session:
            return session.signature

    def operators(self, path: Path) -> Operators:
        return tflite_operators(path.read_bytes())

    def check(self, path: Path, recipe: Recipe) -> None:
        found = self.operators(path)
        if recipe.name == "static_int8":
            floats = [item.name for item in found.operators if not item.integer]
            if floats:
                raise RecipeError(
                    f"static_int8 promises integer kernels, but {', '.join(floats)} work on floats."
                )
            image = self.signature(path).inputs[0]
            if (image.dtype, image.quantization) != ("uint8", PIXELS):
                raise RecipeError(
                    "static_int8 promises uint8 pixels with scale 1/255 and zero point 0, but the "
                    f"input is {image.dtype} with {image.quantization}."
                )
        expected = {"float16": "float16", "dynamic_int8": "int8"}.get(recipe.name)
        if expected and not any(expected in item.kinds for item in found.operators):
            raise RecipeError(f"{recipe.name} promises {expected} weights, but the file has none.")


def _convert(tensorflow: Any, conversion: Conversion) -> bytes:
    lite = tensorflow.lite
    if conversion.recipe.name == "static_int8":
        converter = _integer_converter(tensorflow, conversion)
    else:
        model = build_model(conversion.chain, input_dtype="uint8", batch=1)
        converter = lite.TFLiteConverter.from_keras_model(model)
        if conversion.recipe.name != "float32":
            converter.optimizations = [lite.Optimize.DEFAULT]
        if conversion.recipe.name == "float16":
            converter.target_spec.supported_types = [tensorflow.float16]
    return bytes(converter.convert())


def _integer_converter(tensorflow: Any, conversion: Conversion) -> Any:
    """Integers throughout, with a scale of 1/255 at the input."""
    lite = tensorflow.lite
    assert conversion.calibration is not None
    images = spanning(conversion.calibration.first(len(conversion.calibration)))
    chain = taking_fractions(conversion.chain)
    model = build_model(chain, input_dtype="float32", batch=1)

    def representative() -> Iterator[list[Any]]:
        for pixels in images:
            yield [pixels[None].astype(np.float32) / 255]

    converter = lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tensorflow.uint8
    converter.inference_output_type = tensorflow.uint8
    return converter


def spanning(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images, with the darkest value of all set to 0 and the brightest to 255.

    The converter takes the input's scale from the values that it sees; only a range of exactly 0 to
    1 makes it 1/255, so that raw pixels mean what they say.

    Args:
        images: uint8 (n, height, width, channels), 0-255.

    Returns:
        A copy with at most two values changed.
    """
    spanned = images.copy()
    spanned.flat[images.argmin()] = 0
    spanned.flat[images.argmax()] = 255
    return spanned
