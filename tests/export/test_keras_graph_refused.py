from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.small_run import SmallRun

from edgecell_export.keras_graph import read_graph
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def bare_sigmoid(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.ops.sigmoid(keras.layers.Flatten()(image)))


def bare_join(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.ops.matmul(image, keras.layers.Permute((1, 3, 2))(image)))


def with_arguments(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    mask = keras.layers.Conv2D(1, 1)(image)
    return keras.Model(image, keras.layers.Softmax(name="odd_one")(image, mask=mask))


def attention(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    layer = keras.layers.MultiHeadAttention(1, 2, name="odd_one")
    return keras.Model(image, layer(image, image))


def nothing(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, image)


def two_inputs(keras: Any) -> Any:
    images = [keras.Input((12, 12, 3)), keras.Input((12, 12, 3))]
    return keras.Model(images, keras.layers.Add()(images))


def two_outputs(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, [keras.layers.ReLU()(image), keras.layers.Flatten()(image)])


def any_size(keras: Any) -> Any:
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3)])


def not_built(keras: Any) -> Any:
    return keras.Sequential([keras.layers.Flatten()], name="odd_one")


def subclassed(keras: Any) -> Any:
    class Subclassed(keras.Model):
        pass

    return Subclassed(name="odd_one")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (bare_sigmoid, "The model computes Sigmoid outside of a layer; expected layers, or one"),
        (bare_join, "joins tensors by Matmul outside of a layer; expected a layer such as"),
        (with_arguments, "The layer odd_one is called with mask; expected layers that make one"),
        (attention, "The layer odd_one is called with 2 arguments in a row; expected layers"),
        (nothing, "The model gives its image back; expected layers in between"),
        (two_inputs, "takes 2 inputs .* and gives 1 outputs; expected one image"),
        (two_outputs, "takes 1 inputs .* and gives 2 outputs; expected one image"),
        (any_size, "takes images of any size"),
        (not_built, "The model odd_one is a Sequential without a known input"),
        (subclassed, "The model odd_one is a Subclassed without a known input"),
    ],
)
def test_model_is_refused_when_it_is_no_graph_of_layers(
    keras: Any, build: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(PreparationError, match=message):
        read_graph(build(keras))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(
    keras: Any, small_run: SmallRun, value: float
) -> None:
    model = keras.models.load_model(small_run.model_file)
    variance = model.get_layer("norm").moving_variance
    variance.assign(np.full(variance.shape, value))
    with pytest.raises(PreparationError, match="weights that are not numbers; its training"):
        read_graph(model)
