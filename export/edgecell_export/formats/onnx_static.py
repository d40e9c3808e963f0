"""Static quantisation: QDQ with our own ranges, through ONNX Runtime's quantiser.

ONNX Runtime's calibrators keep what they saw of every image; ours streams. Weights lie on the grid
of ``onnx_grid``, so that those which lie on it already are not moved.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats import onnx_channels, onnx_integers, onnx_layers, onnx_weights
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.onnx_graph import INPUT, Model, constant
from edgecell_export.formats.onnx_grid import channel_axis, largest_weight, scale_overrides
from edgecell_export.pixels import PixelFile
from edgecell_export.ranges import Range, collect_ranges
from edgecell_runtime.signature import PIXELS

_BATCH: Final = 16
_WIDE: Final = 16
"""Bits of activations that ONNX Runtime has no integer kernels for on the CPU."""


def quantize(model: Model, conversion: Conversion) -> Model:
    """Quantises a float graph.

    Args:
        model: Takes pixels / 255 as float32 and names its layers; changed in place.
        conversion: Recipe, calibration images, target and layers that stay in float.

    Returns:
        A graph that takes uint8 pixels with a scale of 1/255 and gives float logits.

    Raises:
        ConversionError: A layer that is to stay in float is not there.
    """
    assert conversion.calibration is not None
    kept = onnx_layers.in_layers(model, conversion.float_layers)
    excluded = [node.name for node in kept]
    wide = conversion.recipe.activation_bits == _WIDE
    multiple = onnx_channels.FOR_FLOATS if wide else onnx_channels.FOR_BYTES
    onnx_channels.pad_channels(model, multiple, excluded)
    calibration = conversion.calibration
    ranges = collect_ranges(lambda: activations(model, calibration), conversion.ranges)
    overrides = _weight_overrides(model, conversion, excluded)
    overrides[onnx_integers.pixel_tensor(model)] = [_pixel_steps()]
    model = _insert_steps(model, ranges, overrides, conversion, excluded)
    onnx_integers.take_pixels(model)
    onnx_integers.give_float_logits(model)
    onnx_integers.pass_integers_through(model)
    onnx_integers.keep_floats(model, excluded)
    if wide:
        onnx_weights.fold_when_loaded(model)
    else:
        onnx_channels.pad_pixels(model)
    return model


def activations(
    model: Model, calibration: PixelFile
) -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """Every float tensor of a graph by name, the image included, over all calibration images."""
    import onnx
    import onnxruntime

    watched = onnx.shape_inference.infer_shapes(model)
    given = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        value
        for value in watched.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in given
    )
    options = onnxruntime.SessionOptions()
    # One thread and no fusing, so that ranges do not depend on how many processors there are.
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [item.name for item in session.get_outputs()]
    for pixels in calibration.batches(_BATCH):
        image = pixels.astype(np.float32) / np.float32(255)
        yield {INPUT: image, **dict(zip(names, session.run(names, {INPUT: image}), strict=True))}


def _pixel_steps() -> dict[str, Any]:
    from onnxruntime.quantization import QuantType

    return {
        "quant_type": QuantType.QUInt8,
        "scale": np.array(PIXELS.scale, np.float32),
        "zero_point": np.array(PIXELS.zero_point, np.uint8),
    }


def _weight_overrides(
    model: Model, conversion: Conversion, excluded: list[str]
) -> dict[str, list[dict[str, Any]]]:
    largest = largest_weight(conversion.recipe, conversion.target)
    overrides = {}
    for node in onnx_layers.kernels(model):
        weights = constant(model, node.input[1])
        if node.name not in excluded and weights is not None:
            overrides[node.input[1]] = scale_overrides(weights, channel_axis(node), largest)
    return overrides


def _insert_steps(
    model: Model,
    ranges: dict[str, Range],
    overrides: dict[str, list[dict[str, Any]]],
    conversion: Conversion,
    excluded: list[str],
) -> Model:
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    wide = conversion.recipe.activation_bits == _WIDE
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt16 if wide else QuantType.QUInt8,
        tensors_range={
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in ranges.items()
        },
        nodes_to_quantize=[],
        nodes_to_exclude=excluded,
        op_types_to_quantize=[*QLinearOpsRegistry, *QDQRegistry],
        extra_options={"TensorQuantOverrides": overrides},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model
