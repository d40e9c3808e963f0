"""Integers throughout, in three steps: calibrate, set the ranges, quantise.

TensorFlow's converter does the first and the last in one go; taken apart, a range can be set
between them, and layers can be left in float. Both steps are what its own debugger is made of
(``tensorflow.lite.experimental.QuantizationDebugger``).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.keras_build import build_model
from edgecell_export.keras_graph import KerasModel
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import Graph, taking_fractions
from edgecell_export.ranges import collect_ranges


def quantize_static(
    tensorflow: Any, conversion: Conversion, prepared: Graph, batch: int | None
) -> bytes:
    """Converts to integers.

    With 8-bit activations the input is uint8 with a scale of exactly 1/255, so that raw pixels mean
    what they say, and the output is uint8. With 16 bits LiteRT has no step from uint8 to int16, so
    that plain pixels are cast to floats, quantised to 16 bits, and the output is turned into
    floats. The output is a float also where the layer that makes it stays one.

    Args:
        tensorflow: The module.
        conversion: What to convert, with calibration images.
        prepared: Its graph, with the layers marked that stay in float.
        batch: A fixed batch size; None leaves it open.
    """
    from tensorflow.compiler.mlir.lite import types_pb2 as types
    from tensorflow.lite.python.convert import mlir_quantize

    assert conversion.calibration is not None
    wide = conversion.recipe.activation_bits == 16
    if wide:
        model = build_model(prepared, input_dtype="uint8", batch=batch)
    else:
        model = build_model(taking_fractions(prepared), input_dtype="float32", batch=batch)
    graph = TFLiteGraph(_calibrate(tensorflow, model, conversion.calibration))
    if conversion.ranges != "min-max":
        calibrated, images = graph.to_bytes(), conversion.calibration
        ranges = collect_ranges(lambda: _activations(calibrated, images), conversion.ranges)
        graph.set_ranges(ranges)
        graph.widen_to_match()
    graph.set_ranges(dict.fromkeys(_dead(graph), (0.0, 1.0)))
    graph.set_ranges({_image(graph): (0.0, 255.0 if wide else 1.0)})
    in_float = _float_outputs(graph, conversion)
    output_is_float = wide or bool(set(graph.graph.outputs) & set(in_float))
    quantized = mlir_quantize(
        graph.to_bytes(),
        inference_type=types.QUANTIZED_INT16 if wide else types.QUANTIZED_INT8,
        input_data_type=tensorflow.uint8,
        output_data_type=tensorflow.float32 if output_is_float else tensorflow.uint8,
        denylisted_nodes=list(in_float.values()) or None,
    )
    return _mended(quantized, graph) if wide else bytes(quantized)


def _calibrate(tensorflow: Any, model: KerasModel, images: PixelFile) -> bytes:
    """The float file, with the smallest and largest value of each activation written into it."""
    lite = tensorflow.lite

    def representative() -> Iterator[list[NDArray[Any]]]:
        for pixels in images.batches(1):
            yield [pixels if model.inputs[0].dtype == "uint8" else _fractions(pixels)]

    converter = lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter._experimental_calibrate_only = True
    return bytes(converter.convert())


def _fractions(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _activations(model: bytes, images: PixelFile) -> Iterator[dict[str, NDArray[np.float32]]]:
    """All activations of a calibrated file, image after image."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        # Delegates fuse operators, and what was between them is lost.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    image = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(image["index"], (1, *images.shape))
    interpreter.allocate_tensors()
    wanted = TFLiteGraph(model).ranges()
    indices = {
        item["name"]: item["index"]
        for item in interpreter.get_tensor_details()
        if item["name"] in wanted
    }
    for pixels in images.batches(1):
        given = pixels if image["dtype"] == np.uint8 else _fractions(pixels)
        interpreter.set_tensor(image["index"], given)
        interpreter.invoke()
        yield {name: interpreter.get_tensor(index) for name, index in indices.items()}


def _image(graph: TFLiteGraph) -> str:
    """The name of the tensor that holds the pixels as floats."""
    tensor = graph.graph.inputs[0]
    if graph.dtype(tensor) == "uint8":
        tensor = next(
            operator.outputs[0] for operator in graph.graph.operators if tensor in operator.inputs
        )
    name: str = graph.graph.tensors[tensor].name.decode()
    return name


def _dead(graph: TFLiteGraph) -> list[str]:
    """Tensors that held nothing but zeros; XNNPACK refuses the scale that follows from that.

    The calibrator gives them the smallest number above 0 as their largest value.
    """
    tiny = float(np.finfo(np.float32).tiny)
    return [name for name, (low, high) in graph.ranges().items() if high - low <= tiny]


def _float_outputs(graph: TFLiteGraph, conversion: Conversion) -> dict[int, str]:
    """The outputs of the layers that stay in float, by which the quantiser knows them."""
    outputs = [
        int(layer.operator.outputs[0])
        for layer in graph.layers()
        if layer.stays_float(conversion.float_layers)
    ]
    return {index: graph.graph.tensors[index].name.decode() for index in outputs}


def _mended(quantized: bytes, calibrated: TFLiteGraph) -> bytes:
    """Mends what the quantiser gets wrong for 16-bit activations.

    1. Zero points have to be 0, but a half is rounded to 0 or -1.
    2. Biases are 32-bit, where large ones are cut off, and make kernels add up in 32 bits, which
       overflow; LiteRT adds up in 64 bits where the bias has 64.
    3. Constants that are added to activations are 8-bit, which LiteRT refuses.
    """
    graph = TFLiteGraph(quantized)
    schema, tensors = graph.schema, graph.graph.tensors
    for tensor in tensors:
        if tensor.type == schema.TensorType.INT16:
            tensor.quantization.zeroPoint = np.zeros(1, np.int64)
    floats = {tensor.name: index for index, tensor in enumerate(calibrated.graph.tensors)}

    def real(tensor: int) -> NDArray[np.float64]:
        values = calibrated.constant(floats[tensors[tensor].name], np.float32)
        return values.astype(np.float64)

    layers = [layer for layer in graph.layers() if layer.kernel.activations == "int16"]
    for layer in layers:
        image, _, bias = (int(index) for index in layer.operator.inputs)
        scales = [np.asarray(tensors[i].quantization.scale) for i in (image, layer.weights)]
        steps = scales[0].astype(np.float64) * scales[1].astype(np.float64)
        graph.set_constant(bias, np.rint(real(bias) / steps).astype(np.int64))
        tensors[bias].type = schema.TensorType.INT64
    weights = {layer.weights for layer in layers}
    for index in range(len(tensors)):
        if graph.dtype(index) == "int8" and index not in weights:
            values = real(index)
            scale = np.abs(values).max() / np.iinfo(np.int16).max or 1.0
            graph.set_constant(index, np.rint(values / scale).astype(np.int16))
            tensors[index].type = schema.TensorType.INT16
            tensors[index].quantization.scale = np.array([scale], np.float32)
            tensors[index].quantization.zeroPoint = np.zeros(1, np.int64)
    return graph.to_bytes()
