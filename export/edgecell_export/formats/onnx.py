"""ONNX, through tf2onnx, and ONNX Runtime's quantiser."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats import onnx_graph
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.single_file import SingleFileConverter
from edgecell_export.keras_chain import build_model
from edgecell_export.operators import Operators, onnx_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.prepare import taking_fractions
from edgecell_export.recipes import Recipe
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import ConversionError, EdgecellError, RecipeError
from edgecell_runtime.signature import PIXELS, Signature, TensorSpec

OPSET: Final = 17
"""Per-channel quantisation needs 13; engines of 2022 and later read 17."""

_FLOAT_KERNELS = frozenset(
    {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Add", "Mul", "Max", "Relu"}
)


class ONNXConverter(SingleFileConverter):
    """Writes ``.onnx`` files with an open batch size."""

    format = "onnx"
    suffix = ".onnx"
    recipes = ("float32", "dynamic_int8", "static_int8")
    lacking = {  # noqa: RUF012 - declared as a ClassVar in the base
        "float16": "ONNX Runtime's CPU kernels compute in 32 bits; casts are all it would add",
    }
    # Older x86 sums products of unsigned and signed bytes in 16 bits, which can overflow.
    targets = {  # noqa: RUF012 - likewise
        "dynamic_int8": "x86-vnni",
        "static_int8": "x86-vnni",
    }

    def convert(self, conversion: Conversion, path: Path) -> None:
        with converter_output() as output, tempfile.TemporaryDirectory() as folder:
            try:
                model = _CONVERSIONS[conversion.recipe.name](conversion, Path(folder))
            except EdgecellError:
                raise
            except Exception as error:  # noqa: BLE001 - converters raise of every kind
                failure = error
            else:
                path.write_bytes(onnx_graph.canonical_bytes(model))
                return
        raise ConversionError(
            f"tf2onnx or ONNX Runtime's quantiser failed: {failure}. They printed: {output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        model = path.read_bytes()
        with engine_for(self.format).open(model, 1) as session:
            found = session.signature
        if not onnx_graph.takes_quantised_pixels(model):
            return found
        image = found.inputs[0]
        quantised = TensorSpec(image.name, image.dtype, image.shape, image.layout, PIXELS)
        return Signature((quantised,), found.outputs)

    def operators(self, path: Path) -> Operators:
        return onnx_operators(path.read_bytes())

    def check(self, path: Path, recipe: Recipe) -> None:
        found = self.operators(path).operators
        if recipe.name == "static_int8":
            floats = sorted({item.name for item in found if item.name in _FLOAT_KERNELS})
            image = self.signature(path).inputs[0]
            if floats:
                raise RecipeError(
                    "static_int8 promises integer kernels, but ONNX Runtime runs "
                    f"{', '.join(floats)} on floats."
                )
            if (image.dtype, image.quantization) != ("uint8", PIXELS):
                raise RecipeError(
                    "static_int8 promises uint8 pixels with scale 1/255 and zero point 0, but the "
                    f"input is {image.dtype} with {image.quantization}."
                )
        if recipe.name == "dynamic_int8" and not any(
            item.name.startswith("DynamicQuantize") or "Integer" in item.name for item in found
        ):
            raise RecipeError(
                "dynamic_int8 promises 8-bit dense layers, but ONNX Runtime runs none of them in "
                "integers."
            )


def _float32(conversion: Conversion, folder: Path) -> Any:  # noqa: ARG001 - one form for all
    return _from_keras(conversion.chain, "uint8")


def _dynamic_int8(conversion: Conversion, folder: Path) -> Any:
    """Dense layers only: ONNX Runtime's dynamic convolutions are slower than float ones."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "float.onnx", folder / "dynamic.onnx"
    onnx.save(_from_keras(conversion.chain, "uint8"), source)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    return onnx.load(target)


def _static_int8(conversion: Conversion, folder: Path) -> Any:
    """QDQ with unsigned activations and signed weights by channel; pixels in, float logits out."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = folder / "float.onnx", folder / "static.onnx"
    onnx.save(_from_keras(taking_fractions(conversion.chain), "float32"), source)
    quant_pre_process(source, source, skip_symbolic_shape=True)
    image = onnx_graph.pixel_tensor(onnx.load(source))
    assert conversion.calibration is not None
    batches = (
        pixels.astype(np.float32) / np.float32(255) for pixels in conversion.calibration.batches(32)
    )

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(batches, None)
            return None if batch is None else {onnx_graph.INPUT: batch}

    pixels = {
        "scale": np.array(PIXELS.scale, np.float32),
        "zero_point": np.array(PIXELS.zero_point, np.uint8),
    }
    quantize_static(
        source,
        target,
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"TensorQuantOverrides": {image: [pixels]}},
    )
    model = onnx.load(target)
    onnx_graph.take_pixels(model)
    onnx_graph.give_float_logits(model)
    return model


_CONVERSIONS: dict[str, Callable[[Conversion, Path], Any]] = {
    "float32": _float32,
    "dynamic_int8": _dynamic_int8,
    "static_int8": _static_int8,
}


def _from_keras(chain: Any, dtype: Any) -> Any:
    import tf2onnx

    tensorflow = import_tensorflow()
    model = build_model(chain, input_dtype=dtype, batch=None)
    spec = tensorflow.TensorSpec((None, *chain.input_shape), dtype, name=onnx_graph.INPUT)
    converted, _ = tf2onnx.convert.from_keras(model, input_signature=(spec,), opset=OPSET)
    onnx_graph.name_ends(converted)
    return converted
