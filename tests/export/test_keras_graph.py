from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keras_models import (
    PIXELS,
    assert_read_and_built_as_it_is,
    functional,
    nodes_of,
    sequential,
    train_a_little,
)
from support.small_run import SmallRun, save

from edgecell_export.keras_build import build_model, layer_names
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import Graph
from edgecell_export.prepare.graph import IMAGE, Chain, Part
from edgecell_export.prepare.nodes import (
    Affine,
    Dense,
    Flatten,
    KerasLayer,
    Rescale,
    Shift,
    TrainingOnly,
)
from edgecell_export.tensorflow import import_keras


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def every_layer(keras: Any) -> list[Any]:
    """All layers that have a node, with options that matter."""
    layers = keras.layers
    return [
        layers.Rescaling(1 / 127.5, offset=-1),
        layers.GaussianNoise(0.1),
        layers.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(epsilon=0.01),
        layers.ReLU(),
        layers.MaxPooling2D((3, 2), strides=1, padding="same"),
        layers.SpatialDropout2D(0.1),
        layers.ZeroPadding2D(((0, 1), (2, 1))),
        layers.DepthwiseConv2D((2, 3), depth_multiplier=2, padding="same"),
        layers.AveragePooling2D(2, strides=1, padding="same"),
        layers.SeparableConv2D(5, 2, strides=2, depth_multiplier=2, activation="relu"),
        layers.Conv2D(6, 2, activation="sigmoid"),
        layers.BatchNormalization(scale=False, center=False),
        layers.Activation("relu"),
        layers.Flatten(),
        layers.Dense(8, activation="relu", use_bias=False),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.Dense(3),
        layers.Activation("softmax"),
    ]


@pytest.mark.parametrize("form", [sequential, functional])
def test_graph_answers_as_keras_does_when_the_model_was_saved_and_loaded(
    keras: Any, form: Callable[[Any, list[Any]], Any], tmp_path: Path
) -> None:
    model = form(keras, every_layer(keras))
    train_a_little(model)
    save(model, tmp_path / "model.keras")
    graph = read_graph(keras.models.load_model(tmp_path / "model.keras"))
    expected = model.predict(PIXELS, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-3  # it does look at the image
    assert KerasLayer not in {type(node) for node in nodes_of(graph)}
    assert np.abs(graph.evaluate(PIXELS.astype(float)) - expected).max() < 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_built_model_answers_as_the_graph_does(small_graph: Graph, dtype: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    model = build_model(small_graph, input_dtype=dtype, batch=None)
    found = model.predict(pixels.astype(dtype), verbose=0)
    expected = small_graph.evaluate(pixels.astype(float))
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_built_model_answers_as_keras_does_when_nothing_was_folded(keras: Any) -> None:
    model = sequential(keras, every_layer(keras))
    train_a_little(model)
    built = build_model(read_graph(model), input_dtype="uint8", batch=None)
    expected, found = (each.predict(PIXELS, verbose=0) for each in (model, built))
    assert np.abs(found - expected).max() < 1e-6


def test_built_model_adds_a_shift() -> None:
    shift = np.array([1.0, -2.0, 0.5])
    chain = Chain((4, 4, 3), (Shift(shift), Flatten(), Dense(np.eye(48), np.zeros(48), "dense")))
    model = build_model(Graph((4, 4, 3), (Part(chain),)), input_dtype="uint8", batch=2)
    found = model.predict(np.zeros((2, 4, 4, 3), np.uint8), verbose=0)
    assert (found == np.tile(shift, 16)).all()
    assert model.inputs[0].shape == (2, 4, 4, 3)


def test_read_graph_gives_float64_and_leaves_training_layers_marked(keras: Any) -> None:
    graph = read_graph(sequential(keras, every_layer(keras)))
    assert [type(node) for node in graph.last.nodes[:2]] == [Rescale, TrainingOnly]
    assert (graph.input_shape, graph.white) == ((12, 12, 3), 255.0)
    scales = [node.scale for node in graph.last.nodes if isinstance(node, Affine)]
    assert {scale.dtype for scale in scales} == {np.dtype(np.float64)}


def test_layer_is_read_twice_when_it_is_used_twice(keras: Any) -> None:
    shared = keras.layers.Dense(3, activation="relu", name="shared")
    model = functional(keras, [shared, shared, keras.layers.Flatten(), keras.layers.Dense(2)])
    graph = assert_read_and_built_as_it_is(model)
    assert layer_names(graph)[:2] == ["shared", "shared_2"]


def test_last_layers_of_another_model_are_left_out(keras: Any) -> None:
    whole = functional(keras, [keras.layers.Flatten(), keras.layers.Dense(2, activation="relu")])
    part = keras.Model(whole.inputs, whole.layers[1].output)
    assert [type(node) for node in nodes_of(read_graph(part))] == [Flatten]


def add_layer(keras: Any, conv: Any, image: Any) -> Any:
    return keras.layers.Add()([conv, image])


def bare_subtraction(keras: Any, conv: Any, image: Any) -> Any:
    return conv - image


def image_twice(keras: Any, conv: Any, image: Any) -> Any:
    return keras.layers.Multiply()([conv, conv * image])


def channels_side_by_side(keras: Any, conv: Any, image: Any) -> Any:
    return keras.layers.Concatenate()([image, keras.layers.ReLU()(conv), conv])


@pytest.mark.parametrize("join", [add_layer, bare_subtraction, image_twice, channels_side_by_side])
def test_branches_are_parts_that_a_layer_joins(
    keras: Any, join: Callable[[Any, Any, Any], Any]
) -> None:
    image = keras.Input((12, 12, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same")(image)
    end = keras.layers.GlobalAveragePooling2D()(join(keras, conv, image))
    graph = assert_read_and_built_as_it_is(keras.Model(image, keras.layers.Dense(2)(end)))
    assert graph.parts[-1].join is not None
    assert {IMAGE, 0} <= {source for part in graph.parts for source in part.sources}


@pytest.mark.parametrize(
    ("arithmetic", "scale", "offset"),
    [
        (lambda image: image / 255.0, 1 / 255, 0.0),
        (lambda image: image * 2, 2.0, 0.0),
        (lambda image: 3 + image, 1.0, 3.0),
        (lambda image: image - 0.5, 1.0, -0.5),
        (lambda image: 1.0 - image, -1.0, 1.0),
    ],
    ids=["divided", "multiplied", "added", "subtracted", "subtracted from"],
)
def test_arithmetic_with_a_number_is_read_as_rescaling(
    keras: Any, arithmetic: Callable[[Any], Any], scale: float, offset: float
) -> None:
    image = keras.Input((12, 12, 3))
    tensor = keras.layers.Flatten()(arithmetic(image))
    graph = assert_read_and_built_as_it_is(keras.Model(image, keras.layers.Dense(2)(tensor)))
    rescale = graph.parts[0].chain.nodes[0]
    assert isinstance(rescale, Rescale)
    assert (rescale.scale, rescale.offset) == (pytest.approx(scale), offset)


def test_rescaling_by_channel_is_read_as_a_batchnorm(keras: Any) -> None:
    scaling = keras.layers.Rescaling([1.0, 2.0, -3.0], offset=[0.0, -1.0, 0.5])
    model = sequential(keras, [scaling, keras.layers.Flatten(), keras.layers.Dense(2)])
    affine = nodes_of(assert_read_and_built_as_it_is(model))[0]
    assert isinstance(affine, Affine)
    assert (affine.scale.tolist(), affine.shift.tolist()) == ([1, 2, -3], [0, -1, 0.5])


def test_models_inside_a_model_are_opened(keras: Any) -> None:
    layers = keras.layers
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    body = keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(3, 1), layers.ReLU()])
    tensors = [augmentation, layers.Rescaling(2.0), body, body, layers.Flatten(), layers.Dense(2)]
    graph = assert_read_and_built_as_it_is(functional(keras, tensors))
    kinds = [type(node).__name__ for node in nodes_of(graph)]
    assert kinds[:4] == ["TrainingOnly", "TrainingOnly", "Rescale", "Conv2D"]
    assert kinds.count("Conv2D") == 2
    assert len(set(layer_names(graph))) == 3


@pytest.mark.parametrize(
    "build",
    [
        lambda of: of.Conv2D(2, 3, dilation_rate=2),
        lambda of: of.DepthwiseConv2D(3, dilation_rate=2),
        lambda of: of.SeparableConv2D(3, 3, dilation_rate=2),
        lambda of: of.Conv2D(3, 3, groups=3),
        lambda of: of.Conv2DTranspose(2, 3),
        lambda of: of.Conv2D(2, 3, activation="gelu"),
        lambda of: of.Dense(2, activation=of.ReLU(6)),
        lambda of: of.Activation("tanh"),
        lambda of: of.ReLU(max_value=0.6),
        lambda of: of.ReLU(negative_slope=0.1),
        lambda of: of.LeakyReLU(0.3),
        lambda of: of.PReLU(),
        lambda of: of.Softmax(axis=1),
        lambda of: of.BatchNormalization(axis=1),
        lambda of: of.LayerNormalization(),
        lambda of: of.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
        lambda of: of.Rescaling(np.ones((12, 1, 3)).tolist(), offset=0.5),
        lambda of: of.Reshape((6, 24, 3)),
        lambda of: of.Cropping2D(2),
        lambda of: of.GlobalMaxPooling2D(),
    ],
)
def test_layer_without_a_node_is_carried_along(keras: Any, build: Callable[[Any], Any]) -> None:
    layers = [build(keras.layers), keras.layers.Flatten(), keras.layers.Dense(2)]
    graph = assert_read_and_built_as_it_is(functional(keras, layers))
    assert [isinstance(node, KerasLayer) for node in nodes_of(graph)].count(True) == 1


def test_prepared_graph_gives_the_logits_of_the_source(
    small_run: SmallRun, small_graph: Chain
) -> None:
    model = small_run.source.model
    answers = np.asarray(model.predict(small_run.pixels, verbose=0), float)
    logits = small_graph.evaluate(small_run.pixels.astype(float))
    assert np.abs(1 / (1 + np.exp(-logits)) - answers).max() < 1e-5
