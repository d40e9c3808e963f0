from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_run import SmallRun, save

from edgecell_export.keras_chain import build_model, read_chain
from edgecell_export.prepare import Chain
from edgecell_export.prepare.chain import Affine, Dense, Flatten, Rescale, Shift, TrainingOnly
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def every_layer(keras: Any) -> list[Any]:
    """All layers that can be read, with options that matter."""
    layers = keras.layers
    return [
        layers.Rescaling(1 / 127.5, offset=-1),
        layers.GaussianNoise(0.1),
        layers.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(epsilon=0.01),
        layers.ReLU(),
        layers.MaxPooling2D((3, 2), strides=1, padding="same"),
        layers.SpatialDropout2D(0.1),
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


def sequential(keras: Any, layers: list[Any]) -> Any:
    return keras.Sequential([keras.Input((12, 12, 3)), *layers])


def functional(keras: Any, layers: list[Any]) -> Any:
    image = tensor = keras.Input((12, 12, 3))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(image, tensor)


def train_a_little(model: Any) -> None:
    """Gives every weight a value that initialisation does not."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(rng.uniform(0.1, 0.5, variable.shape) * rng.choice([-1, 1]))
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_variance.assign(rng.uniform(0.1, 2, layer.moving_variance.shape))


@pytest.mark.parametrize("form", [sequential, functional])
def test_chain_answers_as_keras_does_when_the_model_was_saved_and_loaded(
    keras: Any, form: Callable[[Any, list[Any]], Any], tmp_path: Path
) -> None:
    model = form(keras, every_layer(keras))
    train_a_little(model)
    save(model, tmp_path / "model.keras")
    chain = read_chain(keras.models.load_model(tmp_path / "model.keras"))
    expected = model.predict(PIXELS, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-3  # it does look at the image
    assert np.abs(chain.evaluate(PIXELS.astype(float)) - expected).max() < 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_built_model_answers_as_the_chain_does(small_chain: Chain, dtype: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    model = build_model(small_chain, input_dtype=dtype, batch=None)
    found = model.predict(pixels.astype(dtype), verbose=0)
    expected = small_chain.evaluate(pixels.astype(float))
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_built_model_answers_as_keras_does_when_nothing_was_folded(keras: Any) -> None:
    model = sequential(keras, every_layer(keras))
    train_a_little(model)
    built = build_model(read_chain(model), input_dtype="uint8", batch=None)
    expected, found = (each.predict(PIXELS, verbose=0) for each in (model, built))
    assert np.abs(found - expected).max() < 1e-6


def test_built_model_adds_a_shift() -> None:
    shift = np.array([1.0, -2.0, 0.5])
    chain = Chain((4, 4, 3), (Shift(shift), Flatten(), Dense(np.eye(48), np.zeros(48))))
    model = build_model(chain, input_dtype="uint8", batch=2)
    found = model.predict(np.zeros((2, 4, 4, 3), np.uint8), verbose=0)
    assert (found == np.tile(shift, 16)).all()
    assert model.inputs[0].shape == (2, 4, 4, 3)


def test_read_chain_gives_float64_and_leaves_training_layers_marked(keras: Any) -> None:
    chain = read_chain(sequential(keras, every_layer(keras)))
    assert [type(node) for node in chain.nodes[:2]] == [Rescale, TrainingOnly]
    assert (chain.input_shape, chain.white) == ((12, 12, 3), 255.0)
    scales = [node.scale for node in chain.nodes if isinstance(node, Affine)]
    assert {scale.dtype for scale in scales} == {np.dtype(np.float64)}


def test_layer_is_read_twice_when_it_is_used_twice(keras: Any) -> None:
    shared = keras.layers.Dense(3, activation="relu")
    model = functional(keras, [shared, shared, keras.layers.Flatten(), keras.layers.Dense(2)])
    train_a_little(model)
    expected = model.predict(PIXELS / 255, verbose=0)
    assert np.abs(read_chain(model).evaluate(PIXELS / 255) - expected).max() < 1e-5


def test_last_layers_of_another_model_are_left_out(keras: Any) -> None:
    whole = functional(keras, [keras.layers.Flatten(), keras.layers.Dense(2, activation="relu")])
    part = keras.Model(whole.inputs, whole.layers[1].output)
    assert [type(node) for node in read_chain(part).nodes] == [Flatten]


def branching(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same")(image)
    return keras.Model(image, keras.layers.Add(name="odd_one")([conv, image]))


def bare_operation(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.layers.Flatten()(keras.ops.divide(image, 255.0)))


def bare_operation_at_the_end(keras: Any) -> Any:
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.ops.sigmoid(keras.layers.Flatten()(image)))


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
        (branching, "The model branches: odd_one takes 2 inputs"),
        (bare_operation, "The layer true_divide.* is a TrueDivide|The layer divide.* is a Divide"),
        (bare_operation_at_the_end, "The layer sigmoid.* is a Sigmoid"),
        (two_inputs, "takes 2 inputs .* and gives 1 outputs; expected one image"),
        (two_outputs, "takes 1 inputs .* and gives 2 outputs; expected one image"),
        (any_size, "takes images of any size"),
        (not_built, "The model odd_one is a Sequential without a known input"),
        (subclassed, "The model odd_one is a Subclassed without a known input"),
    ],
)
def test_model_is_refused_when_it_is_no_line_of_layers(
    keras: Any, build: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(PreparationError, match=message):
        read_chain(build(keras))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda of: of.DepthwiseConv2D(3, name="odd_one"), "odd_one is a DepthwiseConv2D; the"),
        (lambda of: of.Conv2D(2, 3, dilation_rate=2, name="odd_one"), "odd_one is dilated"),
        (lambda of: of.Conv2D(3, 3, groups=3, name="odd_one"), "odd_one is dilated or grouped"),
        (
            lambda of: of.Conv2D(2, 3, activation="gelu", name="odd_one"),
            "odd_one .*activation gelu",
        ),
        (
            lambda of: of.Dense(2, activation=of.ReLU(6), name="odd_one"),
            "odd_one .*activation ReLU",
        ),
        (lambda of: of.Activation("tanh", name="odd_one"), "odd_one has the activation tanh"),
        (lambda of: of.ReLU(max_value=6, name="odd_one"), "odd_one is a ReLU with options"),
        (lambda of: of.ReLU(negative_slope=0.1, name="odd_one"), "odd_one is a ReLU with options"),
        (lambda of: of.BatchNormalization(axis=1, name="odd_one"), "odd_one normalises axis 1"),
        (lambda of: of.Rescaling([1.0, 2.0, 3.0], name="odd_one"), "odd_one rescales each channel"),
        *[
            (
                lambda of, kind=kind, options=options: getattr(of, kind)(
                    **options, data_format="channels_first", name="odd_one"
                ),
                "odd_one takes channels first",
            )
            for kind, options in [
                ("Conv2D", {"filters": 2, "kernel_size": 3}),
                ("MaxPooling2D", {"pool_size": 2}),
                ("Flatten", {}),
            ]
        ],
    ],
)
def test_layer_is_refused_by_name_when_it_cannot_be_exported(
    keras: Any, build: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(PreparationError, match=f"The layer {message}"):
        read_chain(sequential(keras, [build(keras.layers)]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(
    keras: Any, small_run: SmallRun, value: float
) -> None:
    model = keras.models.load_model(small_run.model_file)
    variance = model.get_layer("norm").moving_variance
    variance.assign(np.full(variance.shape, value))
    with pytest.raises(PreparationError, match="weights that are not numbers; its training"):
        read_chain(model)


def test_prepared_chain_gives_the_logits_of_the_source(
    small_run: SmallRun, small_chain: Chain
) -> None:
    model = small_run.source.model
    answers = np.asarray(model.predict(small_run.pixels, verbose=0), float)
    logits = small_chain.evaluate(small_run.pixels.astype(float))
    assert np.abs(1 / (1 + np.exp(-logits)) - answers).max() < 1e-5
