"""Each preset is the published net, takes any sensible size, and the registry refuses what it
should.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import HeadKind
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import TrainConfig
from edgecell_train.keras_files import load_keras_file
from edgecell_train.presets import PRESETS, Preset, find_preset, parameters, parts, register
from edgecell_train.presets.parameters import PARAMETERS

README = Path(__file__).parents[2] / "train" / "README.md"

PUBLISHED = {
    "malaria-cnn": (4_340_130, 4_338_466),
    "malaria-gap": (423_490, 422_530),
    "cell-nano": (2_910, 2_834),
    "cell-micro": (21_258, 21_026),
    "cell-small": (86_954, 86_490),
    "mnist-cnn": (693_962, 693_962),
    "cnn-128": (17_069_825, 17_069_825),
    "cnn-128-regularised": (17_069_825, 17_069_825),
    "logistic": (12_289, 12_289),
    "mlp": (1_573_121, 1_573_121),
}
SMALLEST = {
    "malaria-cnn": 4,
    "malaria-gap": 24,
    "cell-nano": 1,
    "cell-micro": 1,
    "cell-small": 1,
    "mnist-cnn": 4,
    "cnn-128": 8,
    "cnn-128-regularised": 8,
    "logistic": 1,
    "mlp": 1,
}
SINGLE_OUTPUT = ("cnn-128", "cnn-128-regularised", "logistic", "mlp")
EVERY = pytest.mark.parametrize("name", PUBLISHED)

CONVOLUTION = ("Conv2D", {"filters": 32, "kernel_size": (3, 3), "padding": "same"})
RELU = {"activation": "relu"}
POOLING = ("MaxPooling2D", {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"})
NORMALISATION = ("BatchNormalization", {"momentum": 0.99, "epsilon": 0.001})
SLOWER = ("BatchNormalization", {"momentum": 0.95, "epsilon": 0.001})
FLATTEN: tuple[str, dict[str, object]] = ("Flatten", {})


def convolution(filters: int, size: int, padding: str, activation: str) -> tuple[str, Any]:
    options = {"filters": filters, "kernel_size": (size, size), "strides": (1, 1)}
    return ("Conv2D", {**options, "padding": padding, "activation": activation, "use_bias": True})


def dense(units: int, activation: str) -> tuple[str, Any]:
    return ("Dense", {"units": units, "activation": activation, "use_bias": True})


def dropout(rate: float) -> tuple[str, Any]:
    return ("Dropout", {"rate": rate})


def small(*convolutions: tuple[int, int]) -> list[tuple[str, Any]]:
    """Convolutions, by filters and stride, a global pool and a softmax."""
    layers: list[tuple[str, Any]] = []
    for filters, stride in convolutions:
        options = {"filters": filters, "kernel_size": (3, 3), "strides": (stride, stride)}
        layers.append(("Conv2D", {**options, "padding": "same", "use_bias": False}))
        layers += [SLOWER, ("ReLU", {})]
    return [*layers, ("GlobalAveragePooling2D", {}), dense(2, "softmax")]


LAYERS: dict[str, list[tuple[str, Any]]] = {
    "malaria-cnn": [
        *2 * [convolution(32, 3, "same", "relu"), POOLING, NORMALISATION, dropout(0.2)],
        FLATTEN,
        *[dense(512, "relu"), NORMALISATION, dropout(0.2)],
        *[dense(256, "relu"), NORMALISATION, dropout(0.2)],
        dense(2, "sigmoid"),
    ],
    "malaria-gap": [
        *[convolution(32, 3, "valid", "linear"), SLOWER, ("ReLU", {})],
        *[convolution(64, 3, "valid", "linear"), SLOWER, ("ReLU", {}), POOLING],
        *[convolution(128, 3, "valid", "linear"), SLOWER, ("ReLU", {}), POOLING],
        *[convolution(256, 3, "valid", "linear"), SLOWER, ("ReLU", {}), POOLING],
        *[dropout(0.25), ("GlobalAveragePooling2D", {}), dense(128, "relu"), dropout(0.5)],
        dense(2, "softmax"),
    ],
    "cell-nano": small((8, 2), (10, 2), (10, 1), (10, 2)),
    "cell-micro": small((16, 2), (20, 2), (24, 1), (28, 2), (28, 1)),
    "cell-small": small((24, 2), (32, 2), (48, 1), (64, 2), (64, 1)),
    "mnist-cnn": [
        *[convolution(32, 3, "valid", "relu"), POOLING, dropout(0.25)],
        *[FLATTEN, dense(128, "relu"), dropout(0.5), dense(10, "softmax")],
    ],
    "cnn-128": [
        *[convolution(64, 5, "same", "relu"), POOLING],
        *2 * [convolution(128, 3, "same", "relu"), POOLING],
        *[FLATTEN, dense(512, "relu"), dense(128, "relu"), dense(1, "sigmoid")],
    ],
    "cnn-128-regularised": [
        *[convolution(64, 5, "same", "relu"), POOLING, dropout(0.4)],
        *2 * [convolution(128, 3, "same", "relu"), POOLING, dropout(0.4)],
        *[FLATTEN, dense(512, "relu"), dropout(0.2), dense(128, "relu"), dropout(0.2)],
        dense(1, "sigmoid"),
    ],
    "logistic": [FLATTEN, dense(1, "sigmoid")],
    "mlp": [FLATTEN, dense(128, "relu"), dense(1, "sigmoid")],
}


def labels_of(name: str) -> int:
    return 10 if name == "mnist-cnn" else 2


@pytest.fixture(scope="module")
def built() -> Iterator[Callable[[str], Any]]:
    """A preset's net at its published size, made once."""
    models: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in models:
            preset = find_preset(name)
            models[name] = preset.build(preset.preprocessing.shape, labels_of(name))
        return models[name]

    yield find
    models.clear()


def _count(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


@EVERY
def test_preset_has_the_published_number_of_parameters(built: Any, name: str) -> None:
    model = built(name)
    assert (model.count_params(), _count(model.trainable_weights)) == PUBLISHED[name]
    assert PARAMETERS[name] == parameters.Parameters(*PUBLISHED[name])


def test_presets_outnumber_neither_the_counts_nor_the_published() -> None:
    assert set(PRESETS) == set(PARAMETERS)
    assert set(PRESETS) - {"cnn-3d"} == set(PUBLISHED)


@EVERY
def test_readme_names_the_preset_and_its_parameters(name: str) -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    total, trainable = (f"{count:,}" for count in PUBLISHED[name])
    expected = total if total == trainable else f"{total} ({trainable})"
    assert len(rows) == 1
    assert rows[0].split("|")[3].strip() == expected


@EVERY
def test_preset_has_the_published_layers(built: Any, name: str) -> None:
    model = built(name)
    rescaling, *layers = model.layers
    assert type(rescaling).__name__ == "Rescaling"
    found = [
        (type(layer).__name__, {key: layer.get_config()[key] for key in options})
        for layer, (_, options) in zip(layers, LAYERS[name], strict=True)
    ]
    assert found == LAYERS[name]
    assert model.input_shape == (None, *find_preset(name).preprocessing.shape)


@EVERY
def test_preset_makes_0_to_1_of_pixels_and_is_not_compiled(built: Any, name: str) -> None:
    model = built(name)
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(np.asarray(model.layers[0](pixels)), [0, 0.2, 1], rtol=1e-6)
    assert model.compiled is False


def test_regularised_preset_alone_begins_with_he_and_adds_squares_to_the_loss(built: Any) -> None:
    for name in ("cnn-128", "cnn-128-regularised"):
        model = built(name)
        regularised = name == "cnn-128-regularised"
        configs = [layer.get_config() for layer in model.layers if "dense" in layer.name]
        kinds = {config["kernel_initializer"]["class_name"] for config in configs}
        assert kinds == {"HeNormal" if regularised else "GlorotUniform"}
        squares = sum(
            float((np.asarray(model.get_layer(layer).kernel, float) ** 2).sum())
            for layer in ("dense_1", "dense_2")
        )
        added = [float(loss) for loss in model.losses]
        expected = [pytest.approx(0.01 * squares, rel=1e-4)] if regularised else []
        assert ([sum(added)] if added else []) == expected


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@EVERY
def test_preset_answers_in_32_bits_where_layers_compute_in_16(name: str, policy: str) -> None:
    keras = import_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = find_preset(name).build((32, 32, 3), 2)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.layers[-2].compute_dtype == policy.removeprefix("mixed_")
    assert model.outputs[0].dtype == "float32"


@EVERY
def test_preset_takes_the_smallest_size_that_leaves_something(name: str) -> None:
    size = SMALLEST[name]
    model = find_preset(name).build((size, size + 3, 1), 2)
    assert model.input_shape == (None, size, size + 3, 1)
    assert np.isfinite(model.predict(np.zeros((2, size, size + 3, 1)), verbose=0)).all()


@pytest.mark.parametrize("name", [name for name, size in SMALLEST.items() if size > 1])
def test_preset_refuses_a_size_of_which_its_poolings_leave_nothing(name: str) -> None:
    size = SMALLEST[name]
    match = rf"{size + 3} x {size - 1} pixels are too small .* at least {size} x {size}\."
    with pytest.raises(UsageError, match=match):
        find_preset(name).build((size + 3, size - 1, 3), 2)


@pytest.mark.parametrize("name", [name for name, size in SMALLEST.items() if size > 1])
def test_smallest_size_is_no_larger_than_needed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the check Keras itself makes nothing of one pixel less."""
    begin = parts.begin
    monkeypatch.setattr(parts, "begin", lambda preset, shape, smallest=1: begin(preset, shape))
    size = SMALLEST[name] - 1
    with pytest.raises(Exception, match=r"is not valid|negative|zero|empty|non-positive"):
        find_preset(name).build((size, size, 3), 2)


@EVERY
def test_presets_model_is_opened_again_as_exports_open_it(name: str, tmp_path: Path) -> None:
    model = find_preset(name).build((32, 32, 3), 2)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        model.save(tmp_path / "saved.keras")
    found = load_keras_file(tmp_path / "saved.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        found.predict(pixels, verbose=0), model.predict(pixels, verbose=0)
    )


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (8, 64, 64, 3)])
@EVERY
def test_preset_refuses_what_is_no_image(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="expected \\(height, width, channels\\) with 1 or 3"):
        find_preset(name).build(shape, 2)


@pytest.mark.parametrize("name", ["mnist-cnn", "cnn-128", "mlp"])
def test_preset_refuses_a_size_with_more_weights_than_memory(name: str) -> None:
    with pytest.raises(UsageError, match=r"4096 x 4096 x 3 give the net .* weights; at most"):
        find_preset(name).build((4096, 4096, 3), 2)


@EVERY
def test_preset_refuses_labels_that_it_cannot_tell_apart(name: str) -> None:
    build = find_preset(name).build
    with pytest.raises(UsageError, match="at least two apart"):
        build((32, 32, 3), 1)
    if name in SINGLE_OUTPUT:
        with pytest.raises(UsageError, match=f"{name} has a single output.*there are 3"):
            build((32, 32, 3), 3)
    else:
        assert build((32, 32, 3), 3).output_shape == (None, 3)


HEADS: dict[str, HeadKind] = {
    "malaria-cnn": "normalised_sigmoid",
    "malaria-gap": "softmax",
    "cell-nano": "softmax",
    "cell-micro": "softmax",
    "cell-small": "softmax",
    "mnist-cnn": "softmax",
    **dict.fromkeys(SINGLE_OUTPUT, "sigmoid"),
}


@EVERY
def test_preset_has_the_head_of_its_last_layer_and_a_recipe_of_its_own(name: str) -> None:
    preset = find_preset(name)
    assert preset.head == HEADS[name]
    assert preset.recipe.preset == preset.name == name
    assert preset.recipe.model == ""


def test_malaria_cnn_is_trained_as_published() -> None:
    recipe = find_preset("malaria-cnn").recipe
    assert (recipe.epochs, recipe.batch_size) == (6, 32)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 0.001)


def tiny(name: str) -> Preset:
    def build(shape: tuple[int, ...], labels: int) -> Any:
        raise AssertionError

    spec, recipe = PreprocessSpec(8, 8), TrainConfig(preset=name)
    return Preset(name, "a net", "nowhere", spec, "softmax", recipe, build)


def test_registry_refuses_a_name_twice_and_keeps_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgecell_train.presets.PRESETS", {})
    preset = tiny("tiny")
    register(preset)
    with pytest.raises(ValueError, match="'tiny' is registered already"):
        register(tiny("tiny"))
    assert find_preset("tiny") is preset


def test_unknown_preset_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(UsageError, match="no preset 'malaria_cnn'; there are malaria-cnn, mal"):
        find_preset("malaria_cnn")
