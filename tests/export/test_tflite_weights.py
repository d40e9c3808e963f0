from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from support.small_run import Conversions
from support.tflite_files import KERNELS, convert, largest_difference

from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.formats.tflite_weights import packed, store_weights
from edgecell_export.prepare import for_integers
from edgecell_export.prepare.nodes import Dense
from edgecell_export.recipes import RECIPES
from edgecell_export.tensorflow import import_keras, import_tensorflow


def run_with(path: Path, pixels: NDArray[np.uint8], resolver: OpResolverType) -> NDArray[Any]:
    interpreter = Interpreter(
        model_content=path.read_bytes(), experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    rows = []
    for one in pixels[:, None]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(rows)


@pytest.mark.parametrize("recipe", ["weight_only_int8", "weight_only_int4", "dynamic_int8"])
def test_weights_mean_the_same_with_and_without_xnnpack(
    conversions: Conversions, recipe: str
) -> None:
    path, pixels = conversions.path("tflite", recipe), conversions.calibration.first(8)
    plain = run_with(path, pixels, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    fast = run_with(path, pixels, OpResolverType.AUTO)
    np.testing.assert_allclose(fast, plain, atol=0.1 if recipe == "dynamic_int8" else 1e-4)


@pytest.mark.parametrize("recipe", ["weight_only_int8", "dynamic_int8", "static_int8"])
def test_weights_that_were_rounded_before_are_not_moved_again(
    conversions: Conversions, tmp_path: Path, recipe: str
) -> None:
    graph = for_integers(conversions.graph, conversions.calibration.first(64))
    path = convert(conversions.conversion(recipe), tmp_path, graph=graph)
    file = TFLiteGraph(path.read_bytes())
    hidden = list(file.layers())[2]
    stored = file.constant(hidden.weights, np.int8).astype(np.float64)
    scale = file.graph.tensors[hidden.weights].quantization.scale.astype(np.float64)
    node = next(node for node in graph.last.nodes if getattr(node, "name", "") == "hidden")
    assert isinstance(node, Dense)
    np.testing.assert_allclose(stored * scale[:, None], node.kernel.T, rtol=1e-5, atol=1e-9)


def test_static_int8_int16_keeps_biases_that_32_bits_would_cut_off(
    conversions: Conversions, tmp_path: Path
) -> None:
    # The constant channel that absorbs shifts has a kernel of zeros, and so a tiny scale.
    graph = for_integers(conversions.graph, conversions.calibration.first(64))
    path = convert(conversions.conversion("static_int8_int16"), tmp_path, graph=graph)
    file = TFLiteGraph(path.read_bytes())
    biases = [file.constant(layer.operator.inputs[2], np.int64) for layer in file.layers()]
    assert max(np.abs(bias).max() for bias in biases) > 2**31
    assert largest_difference(path, graph, conversions) < 0.01


def test_int4_weights_lie_two_to_a_byte_with_the_first_in_the_lower_half() -> None:
    steps = np.array([[1, -1, 7], [-7, 0, 2], [3, -2, -3]], np.int8)
    assert packed(steps).tolist() == [0xF1, 0x97, 0x20, 0xE3, 0x0D]


def mobile_net(keras: Any) -> Any:
    """A depthwise net, and two dense layers that share their weights' values."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    twins = keras.initializers.RandomNormal(seed=1)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), batch_size=1, dtype="float32"),
            layers.Conv2D(256, 3, strides=2),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(256, kernel_initializer=twins),
            layers.Dense(256, kernel_initializer=twins),
        ]
    )


@pytest.mark.parametrize("recipe", ["weight_only_int8", "weight_only_int4", "dynamic_int8"])
def test_depthwise_layers_and_shared_weights_are_stored_and_run(
    tmp_path: Path, recipe: str
) -> None:
    model = mobile_net(import_keras())
    largest = 2 ** (RECIPES[recipe].weight_bits - 1) - 1
    for variable in model.weights:
        kernel = np.asarray(variable)
        if kernel.ndim > 1:
            channels = 2 if "depthwise" in variable.path else kernel.ndim - 1
            others = tuple(axis for axis in range(kernel.ndim) if axis != channels)
            step = np.abs(kernel).max(axis=others, keepdims=True) / largest
            variable.assign(np.rint(kernel / step) * step)
    converter = import_tensorflow().lite.TFLiteConverter.from_keras_model(model)
    images = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
    path = tmp_path / "model.tflite"
    path.write_bytes(store_weights(converter.convert(), RECIPES[recipe], ()))
    graph = TFLiteGraph(path.read_bytes())
    assert [layer.kernel for layer in graph.layers()] == [KERNELS[recipe]] * 4
    assert "DEPTHWISE_CONV_2D" in {graph.kind(layer.operator) for layer in graph.layers()}
    expected = np.asarray(model(images))
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        difference = np.abs(run_with(path, images, resolver) - expected).max() / expected.std()
        assert difference < (0.05 if recipe == "dynamic_int8" else 1e-4)
