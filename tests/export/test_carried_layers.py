import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.keras_build import build_model
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import Graph
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.recipes import RECIPES
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import PreparationError

MAPS = np.random.default_rng(0).normal(size=(3, 8, 8, 3))


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def with_weights(layer: Any) -> Any:
    """A layer that was built on maps, with weights unlike those that it starts with."""
    rng = np.random.default_rng(1)
    layer(MAPS.astype(np.float32))
    layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    return layer


def model_with(keras: Any, layer: Any) -> Any:
    image = keras.Input((8, 8, 3))
    tensor = keras.layers.GlobalAveragePooling2D()(layer(image))
    return keras.Model(image, keras.layers.Dense(2)(tensor))


def carried(graph: Graph) -> list[KerasLayer]:
    nodes = [node for part in graph.parts for node in part.chain.nodes]
    return [node for node in nodes if isinstance(node, KerasLayer)]


@pytest.mark.parametrize(
    "build",
    [
        lambda of: of.PReLU(),
        lambda of: of.LayerNormalization(),
        lambda of: of.BatchNormalization(axis=1),
        lambda of: of.Conv2D(2, 3, dilation_rate=2),
        lambda of: of.Conv2DTranspose(2, 3),
        lambda of: of.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
    ],
)
def test_carried_layer_computes_with_the_weights_that_it_had(keras: Any, build: Any) -> None:
    layer = with_weights(build(keras.layers))
    expected = np.asarray(layer(MAPS.astype(np.float32), training=False))
    node = KerasLayer.describe(layer)
    assert node.apply(MAPS).dtype == np.float64
    assert np.abs(node.apply(MAPS) - expected).max() < 1e-5 * np.abs(expected).max()


def test_carried_layer_computes_in_float64(keras: Any) -> None:
    node = KerasLayer.describe(keras.layers.Activation("tanh"))
    assert np.abs(node.apply(MAPS) - np.tanh(MAPS)).max() < 1e-15


@pytest.mark.parametrize("used_before", [False, True])
def test_carried_layer_survives_pickling(keras: Any, used_before: bool) -> None:
    node = KerasLayer.describe(with_weights(keras.layers.PReLU(name="bent")))
    if used_before:  # a created layer is not sent along
        node.apply(MAPS)
    again = pickle.loads(pickle.dumps(node))
    assert again.name == "bent"
    assert np.array_equal(again.apply(MAPS), node.apply(MAPS))


def test_joining_layer_survives_pickling(keras: Any) -> None:
    node = KerasLayer.describe(keras.layers.Concatenate(axis=1), joins=True)
    again = pickle.loads(pickle.dumps(node))
    assert again.apply_to([MAPS, -MAPS]).shape == (3, 16, 8, 3)
    assert np.array_equal(again.apply_to([MAPS, -MAPS])[:, 8:], -MAPS)


def test_layer_without_a_configuration_is_refused_by_name_with_what_to_do(keras: Any) -> None:
    class Secret(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    for layer in (keras.layers.Lambda(lambda x: x * 2, name="odd_one"), Secret(name="odd_one")):
        message = (
            "The layer odd_one cannot be made again .* Expected a layer of Keras, or a class "
            "registered with keras.saving.register_keras_serializable"
        )
        with pytest.raises(PreparationError, match=message):
            read_graph(model_with(keras, layer))


def test_custom_layer_is_carried_along_when_it_is_registered(keras: Any) -> None:
    @keras.saving.register_keras_serializable(package="edgecell_tests")
    class Times(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, power: int = 1, **options: Any) -> None:
            super().__init__(**options)
            self.power = power

        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(shape[-1],), name="factor")

        def call(self, x: Any) -> Any:
            return x**self.power * self.factor

        def get_config(self) -> Any:
            return {**super().get_config(), "power": self.power}

    model = model_with(keras, with_weights(Times(3, name="times")))
    graph = read_graph(model)
    assert [node.name for node in carried(graph)] == ["times"]
    expected = model.predict(MAPS, verbose=0)
    assert np.abs(graph.evaluate(MAPS) - expected).max() < 1e-5
    built = build_model(graph, input_dtype="float32", batch=None).predict(MAPS, verbose=0)
    assert np.abs(built - expected).max() < 1e-5


def test_layer_of_ones_own_with_a_name_of_keras_is_not_read_as_keras_own(keras: Any) -> None:
    @keras.saving.register_keras_serializable(package="edgecell_tests")
    class Dropout(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    assert len(carried(read_graph(model_with(keras, Dropout())))) == 1


def test_gelu_runs_in_onnx_which_has_no_operator_of_its_complement(
    keras: Any, tmp_path: Path
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="gelu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    path = tmp_path / "gelu.onnx"
    conversion = Conversion(read_graph(model), RECIPES["float32"], None)
    CONVERTERS["onnx"].convert(conversion, path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    with engine_for("onnx").open(path.read_bytes(), 1) as session:
        (found,) = session.run((pixels,))
    assert np.allclose(found, model(pixels.astype(np.float32)), atol=1e-5)
