"""A net that computes as its integers do gives the answers that those would give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.keras_graph import read_graph
from edgecell_export.keras_layers import build_trainable
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import Graph, for_integers, prepare
from edgecell_export.prepare.arrays import round_weights, windows_of
from edgecell_export.prepare.nodes import Conv2D, Dense
from edgecell_export.recipes import RECIPES
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.engines import engine_for
from edgecell_runtime.heads import Head
from edgecell_train.fake_quantization import FakeQuantized
from edgecell_train.variables import values_of

Array = NDArray[np.float64]
Integers = tuple[NDArray[np.int64], float, int]
"""Values, scale, zero point."""

HEAD = Head("softmax")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 12, 12, 3), np.uint8)


def make_graph(kernel: Array | None = None, *, averaged: bool = False) -> Graph:
    """A convolution with ReLU, a max pool or an average and a global one, a dense layer."""
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv"),
            *(
                (layers.AveragePooling2D(3), layers.GlobalMaxPooling2D())
                if averaged
                else (layers.MaxPooling2D(3), layers.Flatten())
            ),
            layers.Dense(2, activation="softmax", name="last"),
        ]
    )
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    if kernel is not None:
        model.get_layer("conv").kernel.assign(kernel)
    return prepare(read_graph(model), HEAD)


def quantized(x: Array, low: float, high: float) -> Integers:
    scale = (high - low) / 255
    zero = round(-low / scale)
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.int64), scale, zero


def integer_layer(given: Integers, layer: Conv2D | Dense, ends: tuple[float, float]) -> Integers:
    """Integers in, integers out: products are added up as integers, and rescaled once."""
    values, scale, zero = given
    centred = values - zero
    axes = tuple(range(layer.kernel.ndim - 1))
    steps = np.abs(layer.kernel).max(axis=axes) / 127
    weights = np.rint(layer.kernel / steps).astype(np.int64)
    if isinstance(layer, Conv2D):
        windows = windows_of(centred, weights.shape[:2], layer.strides, layer.padding, fill=0)
        sums = np.tensordot(windows, weights, axes=((4, 5, 3), (0, 1, 2)))
    else:
        sums = centred @ weights
    assert sums.dtype == np.int64
    return quantized((sums + np.rint(layer.bias / (scale * steps))) * scale * steps, *ends)


def emulated(graph: Graph) -> Array:
    """The logits that 8-bit integers would give."""
    convolution, _, pool, _, dense = graph.last.nodes
    assert isinstance(convolution, Conv2D)
    assert isinstance(dense, Dense)
    rounded = graph.last.with_nodes(
        *(n.rounded(127) if isinstance(n, Conv2D | Dense) else n for n in graph.last.nodes)
    )
    activations = rounded.with_nodes(*rounded.nodes[:2]).evaluate(PIXELS.astype(float))
    logits = rounded.evaluate(PIXELS.astype(float))
    image: Integers = (PIXELS.astype(np.int64), 1.0, 0)
    values, scale, zero = integer_layer(image, convolution, (0.0, activations.max()))
    pooled = pool.apply(values).reshape(len(PIXELS), -1)  # type: ignore[arg-type]
    low, high = min(logits.min(), 0), max(logits.max(), 0)
    values, scale, zero = integer_layer((pooled, scale, zero), dense, (low, high))
    return (values - zero) * scale


def fake(graph: Graph) -> FakeQuantized:
    net = FakeQuantized(build_trainable(graph, HEAD))
    net.set_ranges(PIXELS)
    return net


def logits_of(answers: NDArray[np.float32]) -> Array:
    return np.asarray(np.log(answers[:, 0].astype(float) / answers[:, 1]))


def test_fake_integers_answer_as_integers_do() -> None:
    graph = make_graph()
    net = fake(graph)
    found = logits_of(net.model.predict(PIXELS, verbose=0))
    floats = logits_of(net.plain.predict(PIXELS, verbose=0))
    integers = emulated(graph)
    expected = integers[:, 0] - integers[:, 1]
    step = np.unique(np.abs(np.diff(np.unique(integers)))).min()
    differences = np.abs(found - expected)
    # A value in the middle between two steps may be rounded to either.
    assert differences.max() <= 1.01 * step
    assert (differences > 0.01 * step).mean() <= 0.1
    assert np.abs(floats - expected).mean() > 5 * differences.mean()


@pytest.mark.slow
@pytest.mark.parametrize("averaged", [False, True])
def test_fake_integers_answer_as_the_exported_file_does(averaged: bool, tmp_path: Path) -> None:
    graph = make_graph(averaged=averaged)
    net = fake(graph)
    net.round_kernels()
    graph = for_integers(prepare(read_graph(net.plain), HEAD), PIXELS)
    calibration = PixelFile(tmp_path / "calibration", PIXELS.shape[1:])
    calibration.append(PIXELS)
    path = tmp_path / "model.tflite"
    conversion = Conversion(graph, RECIPES["static_int8"], calibration)
    CONVERTERS["tflite"].convert(conversion, path)
    with engine_for("tflite").open(path.read_bytes(), 1) as session:
        output = session.signature.outputs[0]
        answers = [session.run([pixels[None]])[0] for pixels in PIXELS]
    assert output.quantization is not None
    logits = (np.concatenate(answers).astype(float) - output.quantization.zero_point) * (
        output.quantization.scale
    )
    found = logits_of(net.model.predict(PIXELS, verbose=0))
    differences = np.abs(found - (logits[:, 0] - logits[:, 1]))
    assert differences.max() <= 2.02 * output.quantization.scale
    assert (differences > 0.02 * output.quantization.scale).mean() <= 0.15


def test_kernels_are_rounded_as_exports_round_them() -> None:
    kernel = RNG.normal(0, 1, (3, 3, 3, 4))
    kernel[..., 1] = 0  # has no steps
    kernel[0, 0, 0, 2] = 100
    net = fake(make_graph(kernel))
    plain = [np.array(value, float) for value in values_of(net.plain.weights)]
    net.round_kernels()
    convolution, _, dense, _ = (np.array(value, float) for value in values_of(net.plain.weights))
    np.testing.assert_allclose(convolution, round_weights(plain[0], (0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(dense, round_weights(plain[2], (0,)), atol=1e-6)
    assert not np.allclose(plain[2], dense, atol=1e-4)


def test_setting_ranges_leaves_the_weights_alone() -> None:
    net = fake(make_graph())
    before = values_of(net.plain.weights)
    net.set_ranges(PIXELS[:5])
    for one, other in zip(before, values_of(net.plain.weights), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ranges_follow_the_images() -> None:
    net = fake(make_graph())
    answers = net.model.predict(PIXELS, verbose=0)
    net.set_ranges(PIXELS // 8)  # dark ones, beyond whose activations all is clipped
    assert np.abs(net.model.predict(PIXELS, verbose=0) - answers).max() > 0.05


def test_nothing_but_zeros_has_a_range_too() -> None:
    net = fake(make_graph(np.zeros((3, 3, 3, 4))))
    net.plain.get_layer("conv").bias.assign(np.full(4, -1.0))
    net.set_ranges(PIXELS)
    assert np.isfinite(net.model.predict(PIXELS, verbose=0)).all()


def test_gradients_pass_the_rounding() -> None:
    keras = import_keras()
    net = fake(make_graph())
    before = values_of(net.plain.trainable_variables)
    net.model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    net.model.fit(PIXELS, np.eye(2)[np.arange(40) % 2], epochs=1, verbose=0)
    moved = zip(before, values_of(net.plain.trainable_variables), strict=True)
    assert all(np.abs(one - other).max() > 0 for one, other in moved)


@pytest.mark.parametrize(("name", "axis"), [("DepthwiseConv2D", 2), ("Conv2D", 3)])
def test_each_channel_has_its_own_steps(name: str, axis: int) -> None:
    keras = import_keras()
    layers: Any = keras.layers
    made = layers.DepthwiseConv2D(3) if name == "DepthwiseConv2D" else layers.Conv2D(3, 3)
    model = keras.Sequential([keras.Input((4, 4, 3)), made, layers.Flatten(), layers.Dense(2)])
    model.add(layers.Softmax())
    scales = np.moveaxis(np.array([1e-3, 1.0, 1e3])[:, None, None, None], 0, axis)
    made.kernel.assign(RNG.normal(0, 1, made.kernel.shape) * scales)
    net = FakeQuantized(build_trainable(prepare(read_graph(model), HEAD), HEAD))
    before = values_of(net.plain.weights)[0]
    net.round_kernels()
    after = values_of(net.plain.weights)[0]
    assert np.abs(after - before).max() > 0
    for channel in range(3):
        one, other = (np.take(kernel, channel, axis) for kernel in (before, after))
        np.testing.assert_allclose(other, one, atol=np.abs(one).max() / 127 * 0.51)
