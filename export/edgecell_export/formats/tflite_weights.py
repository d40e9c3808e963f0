"""Weights as integers in a TFLite file whose activations are floats.

By output channel and symmetrically: the largest weight of a channel becomes 127 steps (7 of 4
bits), so that weights which were rounded to that grid before are not moved again.

Two ways to compute with them. *Unpacked*: a DEQUANTIZE stands in front of the layer, as in
TensorFlow's float16 files, and LiteRT computes in floats. *Hybrid*: the layer takes the integers,
and LiteRT quantises its activations while running. TensorFlow's converter has the second way only,
for 8 bits, and cannot leave out layers by name.
"""

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.tflite_graph import Kernel, Layer, TFLiteGraph
from edgecell_export.recipes import Recipe

LEAST_HYBRID: Final = 1024
"""Smaller hybrid layers would be slower than float ones (TensorFlow has the same bound): to
quantise the activations costs more there than integers gain."""

_HYBRID_VERSIONS: Final = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 12}
"""Of the operators that first took 8-bit weights by channel with float activations."""

_UNPACKING_VERSIONS: Final = {8: 5, 4: 6}
"""Of DEQUANTIZE, which first took 8 bits by channel, and 4 bits."""


def promised_kernel(
    recipe: Recipe, layer: Layer, size: int, float_layers: Collection[str]
) -> Kernel:
    """What a recipe promises for a layer.

    Args:
        recipe: The recipe.
        layer: The layer.
        size: How many weights it has.
        float_layers: Names of the Keras layers that stay in float.
    """
    weights = {32: "float32", 16: "float16", 8: "int8", 4: "int4"}[recipe.weight_bits]
    activations = {32: "float32", 16: "int16", 8: "int8"}[recipe.activation_bits]
    hybrid = recipe.name == "dynamic_int8"
    if recipe.integer_weights and layer.stays_float(float_layers):
        return Kernel("float32", "float32")
    if hybrid and size < LEAST_HYBRID:
        return Kernel("float32", "float32")
    unpacked = not hybrid and activations == "float32" and weights != "float32"
    return Kernel(activations, weights, unpacked)


def store_weights(model: bytes, recipe: Recipe, float_layers: Collection[str]) -> bytes:
    """Rewrites a float file for a recipe of integer weights and float activations.

    Args:
        model: A float file, with marked layers.
        recipe: ``weight_only_int8``, ``weight_only_int4`` or ``dynamic_int8``.
        float_layers: Names of the Keras layers that stay in float.
    """
    graph = TFLiteGraph(model)
    unpacked: dict[int, int] = {}
    for layer in list(graph.layers()):
        promised = promised_kernel(recipe, layer, graph.size(layer.weights), float_layers)
        if promised.weights == "float32":
            continue
        if layer.weights not in unpacked:  # layers with the same weights share them
            _store(graph, layer, recipe.weight_bits)
            unpacked[layer.weights] = layer.weights
            if promised.unpacked:
                unpacked[layer.weights] = _unpack(graph, layer, recipe.weight_bits)
        image, _, *others = layer.operator.inputs
        layer.operator.inputs = [image, unpacked[layer.weights], *others]
        if not promised.unpacked:
            _make_hybrid(graph, layer)
    # It names the oldest runtime for the float file.
    graph.model.metadata = [
        entry for entry in graph.model.metadata or () if entry.name != b"min_runtime_version"
    ]
    return graph.to_bytes()


def packed(steps: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Steps from -8 to 7 as 4-bit integers, two a byte, the first one in the lower half."""
    flat = steps.ravel().view(np.uint8) & 15
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    halves: NDArray[np.uint8] = pairs[:, 0] | pairs[:, 1] << 4
    return halves


def _store(graph: TFLiteGraph, layer: Layer, bits: int) -> None:
    kernel = graph.constant(layer.weights, np.float32).astype(np.float64)
    others = tuple(axis for axis in range(kernel.ndim) if axis != layer.axis)
    largest = np.abs(kernel).max(axis=others)
    scale = np.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    steps = np.rint(kernel / np.expand_dims(scale, others)).astype(np.int8)
    graph.set_constant(layer.weights, steps if bits == 8 else packed(steps))
    tensor, schema = graph.graph.tensors[layer.weights], graph.schema
    tensor.type = schema.TensorType.INT8 if bits == 8 else schema.TensorType.INT4
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = scale.astype(np.float32)
    tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
    tensor.quantization.quantizedDimension = layer.axis


def _unpack(graph: TFLiteGraph, layer: Layer, bits: int) -> int:
    """Puts a DEQUANTIZE in front of the layer, and gives the index of its output."""
    schema, tensors, operators = graph.schema, graph.graph.tensors, graph.graph.operators
    real = schema.TensorT()
    real.name = tensors[layer.weights].name + b"_unpacked"
    real.shape, real.type = tensors[layer.weights].shape, schema.TensorType.FLOAT32
    tensors.append(real)
    step = schema.OperatorT()
    step.opcodeIndex = _dequantize_code(graph, _UNPACKING_VERSIONS[bits])
    step.inputs, step.outputs = [layer.weights], [len(tensors) - 1]
    step.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    step.builtinOptions = schema.DequantizeOptionsT()
    place = next(i for i, found in enumerate(operators) if found is layer.operator)
    operators.insert(place, step)
    return len(tensors) - 1


def _dequantize_code(graph: TFLiteGraph, version: int) -> int:
    codes, builtin = graph.model.operatorCodes, graph.schema.BuiltinOperator.DEQUANTIZE
    for index, code in enumerate(codes):
        if code.builtinCode == builtin:
            code.version = max(code.version, version)
            return index
    added = graph.schema.OperatorCodeT()
    added.builtinCode = added.deprecatedBuiltinCode = builtin
    added.version = version
    codes.append(added)
    return len(codes) - 1


def _make_hybrid(graph: TFLiteGraph, layer: Layer) -> None:
    kind = graph.kind(layer.operator)
    code = graph.model.operatorCodes[layer.operator.opcodeIndex]
    code.version = max(code.version, _HYBRID_VERSIONS[kind])
    if kind == "FULLY_CONNECTED":
        layer.operator.builtinOptions.asymmetricQuantizeInputs = True
