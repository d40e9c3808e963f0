"""BatchNormalization's averages estimated anew: the same as one batch after the other gives."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_train import averages
from edgecell_train.feeding import LabelledPixels

SHAPE = (8, 8, 3)
# Two batches of 128, and a last one of 4 that must count for less.
PART = LabelledPixels(
    np.random.default_rng(0).integers(0, 256, (260, *SHAPE), np.uint8), np.zeros(260, np.int64)
)


def _net() -> Any:
    """Norms behind each other, dropout between them, and a norm in a model within the model."""
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.BatchNormalization(momentum=0.9)])
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            inner,
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(5),
            layers.BatchNormalization(),
            layers.Dense(2, activation="sigmoid"),
        ]
    )


def _one_after_the_other(model: Any, part: LabelledPixels) -> list[Any]:
    """The averages by Keras's own rule, with a momentum that gives the mean over all images."""
    norms = [model.layers[2].layers[0], model.layers[6]]
    model.layers[3].rate = 0.0
    order = np.random.default_rng(0).permutation(len(part))
    for start in range(0, len(order), 128):
        batch = part.take(order[start : start + 128]).astype(np.float32)
        for norm in norms:
            norm.momentum = start / (start + len(batch))
        model(batch, training=True)
    return averages.current(model)


def test_averages_equal_those_of_one_batch_after_the_other() -> None:
    model = _net()
    averages.reestimate(model, PART)
    for found, expected in zip(
        averages.current(model), _one_after_the_other(_net(), PART), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_averages_follow_the_weights_and_not_what_they_were_before() -> None:
    model = _net()
    averages.reestimate(model, PART)
    first = averages.current(model)
    averages.put_back(model, [value + 7 for value in first])
    averages.reestimate(model, PART)
    for found, expected in zip(averages.current(model), first, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    dense = model.layers[5]
    dense.kernel.assign(dense.kernel * 2)
    averages.reestimate(model, PART)
    np.testing.assert_allclose(averages.current(model)[3], 4 * first[3], rtol=1e-4)


def test_averages_of_a_layer_that_is_not_trained_stay() -> None:
    model = _net()
    model.layers[6].trainable = False
    before = averages.current(model)
    averages.reestimate(model, PART)
    after = averages.current(model)
    np.testing.assert_array_equal(after[2], before[2])
    assert not np.allclose(after[0], before[0])


# NumPy 2 warns of Keras's own ``get_weights`` under JAX.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_estimation_leaves_all_but_the_averages_as_it_was() -> None:
    model, fresh = _net(), _net()
    count, layers = model.count_params(), len(model.layers)
    averages.reestimate(model, PART)
    averages.put_back(model, averages.current(fresh))
    for found, expected in zip(model.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (model.count_params(), len(model.layers)) == (count, layers)
    assert (model.layers[3].rate, model.layers[6].momentum) == (0.5, 0.99)


def test_model_without_averages_is_left_alone() -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    averages.reestimate(model, PART)
    assert not averages.has_averages(model)


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="this is that backend")
def test_averages_equal_those_of_one_batch_after_the_other_under_jax() -> None:
    pytest.importorskip("jax")
    name = "test_averages_equal_those_of_one_batch_after_the_other"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{name}"],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
