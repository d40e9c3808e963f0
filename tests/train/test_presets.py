"""The preset ``malaria-cnn`` is the published net, and the registry refuses what it should."""

import math
from typing import Any

import numpy as np
import pytest
from support.tiny_training import make_preset

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_train.presets import PRESETS, find_preset, register

CONVOLUTION = {
    "filters": 32,
    "kernel_size": (3, 3),
    "strides": (1, 1),
    "padding": "same",
    "activation": "relu",
    "use_bias": True,
}
POOLING = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
NORMALISATION = {"momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True}
DROPOUT = {"rate": 0.2}
PUBLISHED = [
    *2
    * [
        ("Conv2D", CONVOLUTION),
        ("MaxPooling2D", POOLING),
        ("BatchNormalization", NORMALISATION),
        ("Dropout", DROPOUT),
    ],
    ("Flatten", {}),
    ("Dense", {"units": 512, "activation": "relu", "use_bias": True}),
    ("BatchNormalization", NORMALISATION),
    ("Dropout", DROPOUT),
    ("Dense", {"units": 256, "activation": "relu", "use_bias": True}),
    ("BatchNormalization", NORMALISATION),
    ("Dropout", DROPOUT),
    ("Dense", {"units": 2, "activation": "sigmoid", "use_bias": True}),
]


@pytest.fixture(scope="module")
def malaria_cnn() -> Any:
    return find_preset("malaria-cnn").build(2)


def _count(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def test_malaria_cnn_has_the_published_number_of_parameters(malaria_cnn: Any) -> None:
    assert malaria_cnn.count_params() == 4_340_130
    assert _count(malaria_cnn.trainable_weights) == 4_338_466
    assert _count(malaria_cnn.non_trainable_weights) == 1_664


def test_malaria_cnn_has_the_published_layers(malaria_cnn: Any) -> None:
    rescaling, *layers = malaria_cnn.layers
    assert type(rescaling).__name__ == "Rescaling"
    found = [
        (type(layer).__name__, {key: layer.get_config()[key] for key in options})
        for layer, (_, options) in zip(layers, PUBLISHED, strict=True)
    ]
    assert found == PUBLISHED
    assert malaria_cnn.input_shape == (None, 64, 64, 3)
    assert malaria_cnn.output_shape == (None, 2)


def test_malaria_cnn_normalises_pixels_to_one_without_parameters(malaria_cnn: Any) -> None:
    rescaling = malaria_cnn.layers[0]
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(np.asarray(rescaling(pixels)), [0, 0.2, 1], rtol=1e-6)
    assert rescaling.weights == []


def test_malaria_cnn_trains_with_adam_and_categorical_cross_entropy(malaria_cnn: Any) -> None:
    assert type(malaria_cnn.optimizer) is import_keras().optimizers.Adam
    assert float(malaria_cnn.optimizer.learning_rate) == pytest.approx(0.001)
    assert isinstance(malaria_cnn.loss, import_keras().losses.CategoricalCrossentropy)


def test_malaria_cnn_is_trained_on_the_probabilities_that_its_head_gives(malaria_cnn: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 64, 3)).astype(np.float32)
    truth = rng.integers(0, 2, 64)
    sigmoids = malaria_cnn.predict(pixels, verbose=0)
    of_truth = sigmoids[np.arange(64), truth] / sigmoids.sum(axis=1)
    results = malaria_cnn.evaluate(pixels, np.eye(2)[truth], verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)


def test_malaria_cnn_takes_64_pixels_rgb_and_has_the_head_that_its_loss_trains() -> None:
    preset = find_preset("malaria-cnn")
    assert preset.preprocessing.shape == (64, 64, 3)
    assert preset.head == Head("normalised_sigmoid")


def test_registry_refuses_a_name_twice_and_keeps_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preset = make_preset()
    monkeypatch.delitem(PRESETS, preset.name, raising=False)
    register(preset)
    try:
        with pytest.raises(ValueError, match="'tiny' is registered already"):
            register(make_preset())
        assert find_preset("tiny") is preset
    finally:
        del PRESETS["tiny"]


def test_unknown_preset_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(UsageError, match="no preset 'malaria_cnn'; there are malaria-cnn"):
        find_preset("malaria_cnn")
