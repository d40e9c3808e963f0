"""ONNX, through tf2onnx, and ONNX Runtime's quantiser."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats import (
    onnx_channels,
    onnx_checks,
    onnx_graph,
    onnx_grid,
    onnx_integers,
    onnx_layers,
    onnx_rewrites,
    onnx_static,
    onnx_weights,
)
from edgecell_export.formats.base import ADVICE, Conversion, Kernels, engine_kernels
from edgecell_export.formats.onnx_graph import INPUT, Model
from edgecell_export.formats.single_file import SingleFileConverter
from edgecell_export.keras_build import build_model, layer_names
from edgecell_export.kinds import Target
from edgecell_export.operators import Operators, onnx_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.prepare import Graph, taking_fractions
from edgecell_export.recipes import Recipe
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import ConversionError, EdgecellError, EngineError
from edgecell_runtime.signature import PIXELS, Signature, TensorSpec

OPSET: Final = 17
"""Per-channel quantisation needs 13; engines of 2022 and later read 17."""


class ONNXConverter(SingleFileConverter):
    """Writes ``.onnx`` files with an open batch size, or a fixed one."""

    format = "onnx"
    suffix = ".onnx"
    recipes = ("float32", "weight_only_int8", "dynamic_int8", "static_int8", "static_int8_int16")
    lacking = {  # noqa: RUF012 - declared as a ClassVar in the base
        "float16": "ONNX Runtime's CPU kernels compute in 32 bits; casts are all it would add",
        "weight_only_int4": "ONNX Runtime has 4-bit kernels for dense layers alone",
    }

    has_targets = True

    def largest_weight(self, recipe: Recipe, target: Target) -> int:
        return onnx_grid.largest_weight(recipe, target)

    def convert(self, conversion: Conversion, path: Path) -> None:
        with converter_output() as output, tempfile.TemporaryDirectory() as folder:
            try:
                model = _CONVERSIONS[conversion.recipe.name](conversion, Path(folder))
                onnx_graph.set_batch(model, conversion.batch or 0)
                data = onnx_graph.canonical_bytes(
                    model, layer_names(conversion.graph), conversion.end
                )
            except EdgecellError:
                raise
            except Exception as error:  # noqa: BLE001 - converters raise of every kind
                failure = error
            else:
                path.write_bytes(data)
                return
        raise ConversionError(
            f"tf2onnx or ONNX Runtime's quantiser failed: {failure}. {ADVICE} They printed: "
            f"{output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        with engine_for(self.format).open(path.read_bytes(), 1) as session:
            found = session.signature
        if not onnx_integers.takes_quantised_pixels(_load(path)):
            return found
        image = found.inputs[0]
        quantised = TensorSpec(image.name, image.dtype, image.shape, image.layout, PIXELS)
        return Signature((quantised,), found.outputs)

    def kernels(self, path: Path) -> list[Kernels]:
        """Those that ONNX Runtime takes for the graph that it makes; and for the graph as it is."""
        data = path.read_bytes()
        return [
            engine_kernels(self.format, data),
            Kernels("without graph optimisation", partial(_unoptimised, data)),
        ]

    def operators(self, path: Path) -> Operators:
        return onnx_operators(path.read_bytes())

    def check(self, path: Path, conversion: Conversion) -> None:
        recipe, model = conversion.recipe, _load(path)
        if recipe.name == "static_int8":
            onnx_checks.check_static(model, self.operators(path), conversion)
        if recipe.static:
            onnx_checks.check_pixels(model, conversion)
            onnx_checks.check_activations(model, conversion)
        if recipe.name == "dynamic_int8":
            onnx_checks.check_dynamic(model, self.operators(path), conversion)
        elif recipe.integer_weights:
            onnx_checks.check_weights(model, conversion)


def _float32(conversion: Conversion, folder: Path) -> Model:  # noqa: ARG001 - one form for all
    return _from_keras(conversion.graph, "uint8")


def _weight_only(conversion: Conversion, folder: Path) -> Model:  # noqa: ARG001 - likewise
    model = _from_keras(conversion.graph, "uint8")
    onnx_weights.store_integers(model, conversion)
    return model


def _dynamic_int8(conversion: Conversion, folder: Path) -> Model:
    model = _from_keras(conversion.graph, "uint8")
    return onnx_weights.quantize_dense_while_running(model, conversion, folder)


def _static(conversion: Conversion, folder: Path) -> Model:  # noqa: ARG001 - likewise
    model = _from_keras(taking_fractions(conversion.graph), "float32")
    return onnx_static.quantize(model, conversion)


_CONVERSIONS: Final[dict[str, Callable[[Conversion, Path], Model]]] = {
    "float32": _float32,
    "weight_only_int8": _weight_only,
    "dynamic_int8": _dynamic_int8,
    "static_int8": _static,
    "static_int8_int16": _static,
}


def _from_keras(graph: Graph, dtype: Literal["uint8", "float32"]) -> Model:
    """The float graph, as plain as it gets, with its layers named.

    One that takes uint8 stays in float. One that takes float32 will be quantised: ONNX Runtime runs
    byte convolutions with channels last, so that a Transpose before a dense layer goes away by
    itself there, while moving the rows of weights would bring one back.
    """
    import tf2onnx

    tensorflow = import_tensorflow()
    model = build_model(graph, input_dtype=dtype, batch=None)
    spec = tensorflow.TensorSpec((None, *graph.input_shape), dtype, name=INPUT)
    converted, _ = tf2onnx.convert.from_keras(model, input_signature=(spec,), opset=OPSET)
    onnx_rewrites.write_erfc_by_erf(converted)
    onnx_checks.require_known_operators(converted, OPSET)
    onnx_graph.name_ends(converted)
    onnx_rewrites.fix_reshapes(converted)
    onnx_rewrites.join_dense_biases(converted)
    if dtype == "uint8":
        onnx_rewrites.drop_transposes_before_dense(converted)
        onnx_channels.pad_channels(converted, onnx_channels.FOR_FLOATS)
    onnx_layers.name_layers(converted, layer_names(graph))
    return converted


def _unoptimised(model: bytes, batches: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Runs a model node by node: what is quantised is computed in floats between its steps.

    Raises:
        EngineError: ONNX Runtime does not run it so.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with converter_output():
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            image = session.get_inputs()[0].name
            return [session.run(None, {image: batch})[0] for batch in batches]
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise EngineError(f"ONNX Runtime does not run the graph as it is: {error}") from error


def _load(path: Path) -> Model:
    import onnx

    return onnx.load(path)
