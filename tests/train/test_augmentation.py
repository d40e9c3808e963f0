"""The augmentation layer draws anew for each image, repeats with its seed and trains anywhere."""

from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.augmentation import layer
from edgecell_train.config import SMALL_DATA, Augmentation

EVERYTHING = Augmentation(
    flips=True,
    quarter_turns=True,
    rotation=20.0,
    shift=0.1,
    zoom=0.1,
    shear=10.0,
    brightness=0.2,
    contrast=0.2,
    hue=20.0,
    stain=0.2,
    blur=1.0,
    noise=10.0,
)
COLOURS = Augmentation(brightness=0.9, contrast=0.9, hue=90.0, stain=0.5, blur=2.0, noise=60.0)


def images(count: int = 8, *sides: int, channels: int = 3) -> Any:
    """Random images (16 x 16 where no sides are given) with a black frame."""
    sides = sides or (16, 16)
    rng = np.random.default_rng(5)
    pixels = rng.integers(1, 256, (count, *sides, channels)).astype(np.float32)
    pixels[:, :3] = 0
    return pixels


def changed(config: Augmentation, pixels: Any, seed: int = 0) -> Any:
    made = layer(config, seed)
    assert made is not None
    return import_keras().ops.convert_to_numpy(made(pixels, training=True))


def test_augmentation_is_none_when_nothing_is_asked_for() -> None:
    assert layer(Augmentation(), 0) is None


def test_augmentation_gives_images_back_unchanged_when_not_training() -> None:
    made = layer(EVERYTHING, 0)
    assert made is not None
    for arguments in ({}, {"training": False}):
        np.testing.assert_array_equal(np.asarray(made(images(), **arguments)), images())


def test_augmentation_repeats_its_changes_when_the_seed_is_the_same() -> None:
    first, second, other = (layer(EVERYTHING, seed) for seed in (3, 3, 4))
    assert first is not None
    assert second is not None
    assert other is not None
    batches = [np.asarray(first(images(), training=True)) for _ in range(2)]
    for batch in batches:
        np.testing.assert_array_equal(np.asarray(second(images(), training=True)), batch)
    assert not np.array_equal(batches[0], batches[1])
    assert not np.array_equal(np.asarray(other(images(), training=True)), batches[0])


def test_augmentation_goes_on_from_the_state_that_its_generator_is_put_to() -> None:
    made = layer(EVERYTHING, 3)
    assert made is not None
    (state,) = made.variables
    before = np.asarray(state)
    batch = np.asarray(made(images(), training=True))
    assert not np.array_equal(np.asarray(state), before)
    state.assign(before)
    np.testing.assert_array_equal(np.asarray(made(images(), training=True)), batch)


@pytest.mark.parametrize(
    "config",
    [
        Augmentation(flips=True),
        Augmentation(quarter_turns=True),
        Augmentation(rotation=90.0),
        Augmentation(shift=0.3),
        Augmentation(zoom=0.3),
        Augmentation(shear=30.0),
        Augmentation(brightness=0.3),
        Augmentation(contrast=0.3),
        Augmentation(hue=30.0),
        Augmentation(stain=0.3),
        Augmentation(blur=1.0),
        Augmentation(noise=5.0),
    ],
    ids=str,
)
def test_augmentation_changes_each_image_by_its_own_draw(config: Augmentation) -> None:
    same = np.repeat(images(1), 32, axis=0)
    results = np.unique(changed(config, same).round(2), axis=0)
    if config.flips or config.quarter_turns:
        assert len(results) == 4
    else:
        assert len(results) > 24  # blurs below a tenth of a pixel are all alike


@pytest.mark.parametrize("shape", [(16, 16), (16, 24), (15, 15), (6, 10, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_keeps_shape_and_range(shape: tuple[int, ...], channels: int) -> None:
    config = EVERYTHING if len(shape) == 2 else COLOURS
    result = changed(config, images(16, *shape, channels=channels))
    assert result.shape == (16, *shape, channels)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255
    assert result.std() > 10


def test_augmentation_takes_uint8_and_batches_of_any_size() -> None:
    made = layer(SMALL_DATA, 0)
    assert made is not None
    for count in (1, 7):
        result = made(images(count).astype(np.uint8), training=True)
        assert np.asarray(result).shape == (count, 16, 16, 3)


def test_augmentation_refuses_to_turn_volumes_by_the_name_of_the_options() -> None:
    for config in (Augmentation(rotation=5.0), Augmentation(quarter_turns=True)):
        made = layer(config, 0)
        assert made is not None
        with pytest.raises(UsageError, match="Leave out quarter_turns, rotation, shift"):
            made(import_keras().Input((4, 4, 4, 3)))


def test_augmentation_refuses_what_is_no_image() -> None:
    made = layer(SMALL_DATA, 0)
    assert made is not None
    with pytest.raises(UsageError, match=r"got the shape \(5, 12\)"):
        made(np.zeros((5, 12), np.float32), training=True)


def test_augmentation_mirrors_volumes_along_each_axis() -> None:
    volume = images(1, 4, 5, 6)
    mirrored = {
        np.flip(volume[0], axes).tobytes()
        for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    }
    results = changed(Augmentation(flips=True), np.repeat(volume, 64, axis=0))
    assert {result.tobytes() for result in results} == mirrored


@pytest.mark.parametrize("jit", [False, True])
def test_augmentation_runs_inside_the_training_step(jit: bool) -> None:
    keras = import_keras()
    made = layer(EVERYTHING, 0)
    pixels = keras.Input((16, 16, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(made(pixels)))
    model = keras.Model(pixels, outputs)
    model.compile("sgd", "mse", jit_compile=jit)
    (state,) = made.variables  # type: ignore[union-attr]
    before = np.asarray(state)
    history = model.fit(images() / 255, np.zeros((8, 2)), batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert not np.array_equal(np.asarray(state), before)


def test_augmentation_computes_in_float32_under_mixed_precision() -> None:
    keras = import_keras()
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
        result = changed(SMALL_DATA, images())
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    np.testing.assert_array_equal(result, changed(SMALL_DATA, images()))
