"""Chains of layers: which channels can be left out, and that the rest computes what it did."""

from typing import Any

import numpy as np
import pytest
from support.chain_models import answers, build_chain, build_depthwise, randomised

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.compression.chain import narrowed, read_chain
from edgecell_train.compression.low_rank import split, splits

KEPT = {
    "first": np.array([0, 2, 3]),
    "second": np.array([1, 4]),
    "dense": np.array([0, 5, 6, 15]),
}


def _silenced(model: Any, kept: dict[str, Any]) -> Any:
    """The whole net whose other channels are not read: their weights in the next layers are 0."""
    chain = read_chain(model)
    for link in chain.links:
        if link.mixes and link.producer in kept:
            kernel, *bias = link.layer.get_weights()
            out = ~np.isin(link.origin, kept[link.producer])
            kernel = np.moveaxis(kernel, -2, 0)
            kernel[out] = 0
            link.layer.set_weights([np.moveaxis(kernel, 0, -2), *bias])
    return model


@pytest.mark.parametrize("build", [build_chain, build_depthwise])
@pytest.mark.parametrize("names", [("first",), ("second",), ("first", "second")])
def test_narrowed_net_answers_as_the_whole_one_whose_other_channels_are_not_read(
    build: Any, names: tuple[str, ...]
) -> None:
    kept = {name: KEPT[name] for name in names}
    small = narrowed(read_chain(randomised(build())), kept)
    whole = _silenced(randomised(build()), kept)
    assert small.count_params() < whole.count_params()
    np.testing.assert_allclose(answers(small), answers(whole), atol=1e-5)


def test_narrowed_net_has_the_channels_that_were_kept() -> None:
    small = narrowed(read_chain(randomised(build_chain())), KEPT)
    assert read_chain(small).prunable == {"first": 3, "second": 2, "dense": 4}
    assert small.output_shape == (None, 2)


def test_chain_is_read_again_after_it_was_saved_as_a_run_saves_it() -> None:
    model = randomised(build_chain())
    functional = import_keras().Model(model.inputs, model.outputs)
    assert read_chain(functional).prunable == {"first": 8, "second": 6, "dense": 16}


def _branching() -> Any:
    keras = import_keras()
    image = keras.Input((8, 8, 3))
    one = keras.layers.Conv2D(4, 3, padding="same", name="one")(image)
    two = keras.layers.Conv2D(4, 3, padding="same", name="two")(one)
    joined = keras.layers.Add(name="join")([one, two])
    pooled = keras.layers.GlobalAveragePooling2D()(joined)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))


def _nested() -> Any:
    keras = import_keras()
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()], name="inner"
    )
    image = keras.Input((8, 8, 3))
    return keras.Model(image, keras.layers.Dense(2)(inner(image)))


def _of(*layers: Any) -> Any:
    keras = import_keras()
    return keras.Sequential([keras.Input((8, 8, 4)), *layers])


def test_net_is_refused_with_the_layer_that_is_in_the_way() -> None:
    layers = import_keras().layers
    cases = {
        "join joins branches": _branching(),
        "inner joins branches, stands for several layers": _nested(),
        "reshape cannot be narrowed: it is a Reshape": _of(
            layers.Conv2D(4, 3), layers.Reshape((36, 4), name="reshape"), layers.Dense(2)
        ),
        "grouped cannot be narrowed: its channels are in groups": _of(
            layers.Conv2D(4, 3, groups=2, name="grouped"), layers.Flatten(), layers.Dense(2)
        ),
        "rescaled cannot be narrowed: it rescales each channel in its own way": _of(
            layers.Conv2D(2, 3),
            layers.Rescaling([1.0, 2.0], name="rescaled"),
            layers.Flatten(),
            layers.Dense(2),
        ),
        "one layer with channels": _of(layers.Flatten(), layers.Dense(2)),
    }
    for words, model in cases.items():
        with pytest.raises(UsageError, match=words):
            read_chain(model)


def test_image_may_be_rescaled_by_channel() -> None:
    layers = import_keras().layers
    model = _of(
        layers.Rescaling([1.0, 2.0, 3.0, 4.0]),
        layers.Conv2D(4, 3, name="first"),
        layers.Rescaling(0.5, 1.0),
        layers.Flatten(),
        layers.Dense(2),
    )
    small = narrowed(read_chain(randomised(model)), {"first": np.array([1, 2])})
    assert read_chain(small).prunable == {"first": 2}


def test_split_dense_layer_answers_the_same_at_full_rank() -> None:
    model = randomised(build_chain())
    parted = split(read_chain(model), "dense", 16)
    np.testing.assert_allclose(answers(parted), answers(model), atol=1e-4)
    assert read_chain(parted).prunable["dense_low_rank"] == 16


def test_split_is_found_where_the_kernel_has_a_low_rank_and_once_only() -> None:
    model = randomised(build_chain())
    assert splits(read_chain(model)) == {}, "a random kernel has the full rank"
    dense = model.get_layer("dense")
    kernel, bias = dense.get_weights()
    rng = np.random.default_rng(2)
    dense.set_weights([rng.normal(size=(len(kernel), 2)) @ rng.normal(size=(2, 16)), bias])
    before = answers(model)
    chain = read_chain(model)
    assert splits(chain) == {"dense": 2}
    parted = split(chain, "dense", 2)
    np.testing.assert_allclose(answers(parted), before, atol=1e-3)
    assert splits(read_chain(parted)) == {}
