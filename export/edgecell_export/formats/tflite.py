"""TFLite, through TensorFlow's converter."""

import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import (
    ADVICE,
    Conversion,
    Kernels,
    engine_kernels,
    lacks_operators,
)
from edgecell_export.formats.single_file import SingleFileConverter
from edgecell_export.formats.tflite_check import check_integers, check_layers
from edgecell_export.formats.tflite_graph import FLOAT_MARK, TFLiteGraph
from edgecell_export.formats.tflite_metadata import with_metadata
from edgecell_export.formats.tflite_static import quantize_static
from edgecell_export.formats.tflite_weights import store_weights
from edgecell_export.keras_build import build_model, layer_names
from edgecell_export.operators import Operators, tflite_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.prepare import Graph
from edgecell_export.prepare.nodes import Conv2D, Dense, DepthwiseConv2D, Node
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.containers import container_of
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import ConversionError, EdgecellError, EngineError, RecipeError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import PIXELS, Signature

_UNKNOWN_OPERATOR: Final = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")

_OTHERS: Final = (("BUILTIN_WITHOUT_DEFAULT_DELEGATES", False), ("BUILTIN_REF", True))
"""LiteRT's sets of kernels beside its choice, and whether they are slow."""


class TFLiteConverter(SingleFileConverter):
    """Writes ``.tflite`` files, with a batch of one unless asked otherwise."""

    format = "tflite"
    suffix = ".tflite"
    recipes = (
        "float32",
        "float16",
        "weight_only_int8",
        "weight_only_int4",
        "dynamic_int8",
        "static_int8",
        "static_int8_int16",
    )
    lacking = {}  # noqa: RUF012 - declared as a ClassVar in the base
    lacking_volumes = "TFLite has no 3-D pooling"

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
        if unknown := sorted(set(_UNKNOWN_OPERATOR.findall(str(failure)))):
            raise ConversionError(lacks_operators("TFLite", unknown)) from failure
        raise ConversionError(
            f"TensorFlow's TFLite converter failed: {failure}. {ADVICE} It printed: {output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        with converter_output(), engine_for(self.format).open(path.read_bytes(), 1) as session:
            return session.signature

    def kernels(self, path: Path) -> list[Kernels]:
        """XNNPACK's where a layer has one; LiteRT's own; and those that say what is right."""
        data = path.read_bytes()
        return [
            engine_kernels(self.format, data),
            *(Kernels(name, partial(_answers, data, name), slow) for name, slow in _OTHERS),
        ]

    def operators(self, path: Path) -> Operators:
        return tflite_operators(path.read_bytes())

    def check(self, path: Path, conversion: Conversion) -> None:
        graph, recipe = TFLiteGraph(path.read_bytes()), conversion.recipe
        if recipe.static:
            check_integers(graph, conversion)
        check_layers(graph, conversion)
        if recipe.name == "static_int8":
            image = self.signature(path).inputs[0]
            if (image.dtype, image.quantization) != ("uint8", PIXELS):
                raise RecipeError(
                    "static_int8 promises uint8 pixels with scale 1/255 and zero point 0, but the "
                    f"input is {image.dtype} with {image.quantization}."
                )

    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        data = with_metadata(model.read_bytes(), manifest)
        artifact.write_bytes(container_of(self.format).seal(data, manifest))


def _convert(tensorflow: Any, conversion: Conversion) -> bytes:
    recipe, graph = conversion.recipe, conversion.graph
    batch = {None: 1, 0: None}.get(conversion.batch, conversion.batch)
    if recipe.integer_weights:
        graph = _marked(graph, conversion.float_layers)
    if recipe.static:
        return quantize_static(tensorflow, conversion, graph, batch)
    lite = tensorflow.lite
    model = build_model(graph, input_dtype="uint8", batch=batch)
    converter = lite.TFLiteConverter.from_keras_model(model)
    if recipe.weight_bits == 16:
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tensorflow.float16]
    converted = bytes(converter.convert())
    if recipe.integer_weights:
        return store_weights(converted, recipe, conversion.float_layers)
    return converted


def _answers(
    model: bytes, kernels: str, batches: Sequence[NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """Runs a model with other kernels than LiteRT chooses.

    Raises:
        EngineError: They do not run it.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        with converter_output():
            interpreter = Interpreter(
                model_content=model,
                num_threads=1,
                experimental_op_resolver_type=OpResolverType[kernels],
            )
            interpreter.allocate_tensors()
            image = interpreter.get_input_details()[0]["index"]
            output = interpreter.get_output_details()[0]["index"]
            answers = []
            for batch in batches:
                interpreter.set_tensor(image, batch)
                interpreter.invoke()
                answers.append(interpreter.get_tensor(output))
    except Exception as error:  # LiteRT raises RuntimeError and ValueError, by version
        raise EngineError(f"LiteRT's kernels {kernels} do not run the model: {error}") from error
    return answers


def _marked(graph: Graph, float_layers: frozenset[str]) -> Graph:
    """The graph with a mark behind the names of the layers that stay in float.

    Raises:
        ConversionError: There is no layer of a name.
    """
    known = layer_names(graph)
    if missing := sorted(float_layers - set(known)):
        raise ConversionError(
            f"There is no layer {', '.join(missing)} to leave in float; the layers with weights "
            f"are {', '.join(known)}."
        )

    def mark(node: Node) -> Node:
        if isinstance(node, Conv2D | DepthwiseConv2D | Dense) and node.name in float_layers:
            return dataclasses.replace(node, name=node.name + FLOAT_MARK)
        return node

    return graph.map(lambda chain: chain.with_nodes(*map(mark, chain.nodes)))
