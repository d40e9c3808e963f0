"""Geometry is one map an image: exact where it can be, elsewhere as SciPy resamples."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from edgecell_export.tensorflow import import_keras
from edgecell_train.augmentation import layer
from edgecell_train.augmentation_geometry import move
from edgecell_train.config import Augmentation

RNG = np.random.default_rng(2)


def always(share: float) -> Callable[[float], Any]:
    """Draws the same share of the largest value every time."""
    return lambda largest: np.full(1, share * largest, np.float32)


def moved(config: Augmentation, pixels: Any, share: float = 1.0) -> Any:
    return import_keras().ops.convert_to_numpy(move(pixels[None], config, always(share)))[0]


def changed(config: Augmentation, pixels: Any) -> Any:
    made = layer(config, 1)
    assert made is not None
    return import_keras().ops.convert_to_numpy(made(pixels, training=True))


@pytest.mark.parametrize("side", [7, 8, 64])
def test_flips_and_quarter_turns_only_move_pixels(side: int) -> None:
    image = RNG.uniform(0, 255, (side, side, 3)).astype(np.float32)
    turned = [np.rot90(image, turns) for turns in range(4)]
    dihedral = {x.tobytes() for x in (*turned, *(x[:, ::-1] for x in turned))}
    config = Augmentation(flips=True, quarter_turns=True)
    results = changed(config, np.repeat(image[None], 200, axis=0))
    assert {result.tobytes() for result in results} == dihedral


def test_quarter_turns_are_drawn_alike() -> None:
    image = RNG.uniform(0, 255, (4, 4, 1)).astype(np.float32)
    results = changed(Augmentation(quarter_turns=True), np.repeat(image[None], 4000, axis=0))
    for turns in range(4):
        share = np.mean([np.array_equal(x, np.rot90(image, turns)) for x in results])
        assert share == pytest.approx(0.25, abs=0.03)


def test_quarter_turns_are_half_turns_when_the_image_is_not_square() -> None:
    image = RNG.uniform(0, 255, (4, 6, 3)).astype(np.float32)
    results = changed(Augmentation(quarter_turns=True), np.repeat(image[None], 50, axis=0))
    expected = {image.tobytes(), image[::-1, ::-1].tobytes()}
    assert {result.tobytes() for result in results} == expected


def _scipy(image: Any, forward: Any, shift: tuple[float, float]) -> Any:
    """Moves by a matrix (on x, y) about the centre, and then by a shift."""
    height, width, channels = image.shape
    inverse = np.linalg.inv(forward)[::-1, ::-1]  # on rows, columns
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = centre - inverse @ (centre + np.array(shift[::-1]))
    return np.stack(
        [
            ndimage.affine_transform(image[..., c], inverse, offset, order=1, mode="grid-constant")
            for c in range(channels)
        ],
        axis=-1,
    )


@pytest.mark.parametrize("size", [(16, 16), (13, 20)])
@pytest.mark.parametrize(
    ("config", "forward"),
    [
        (Augmentation(zoom=0.25), np.eye(2) * 1.25),
        (
            Augmentation(rotation=30.0),
            np.array([[3**0.5 / 2, 0.5], [-0.5, 3**0.5 / 2]]),
        ),
        (Augmentation(shear=45.0), np.array([[1, -1], [0, 1]])),
        (Augmentation(shift=0.15), np.eye(2)),
    ],
    ids=["zoom", "rotation", "shear", "shift"],
)
def test_moved_images_are_those_of_scipy(
    size: tuple[int, int], config: Augmentation, forward: Any
) -> None:
    image = RNG.uniform(0, 255, (*size, 3)).astype(np.float32)
    shift = (config.shift * size[1], config.shift * size[0])
    np.testing.assert_allclose(
        moved(config, image), _scipy(image, forward, shift), atol=0.01, rtol=0
    )


def test_all_moves_together_are_one_map() -> None:
    config = Augmentation(rotation=30.0, zoom=0.25, shift=0.1)
    image = RNG.uniform(0, 255, (16, 16, 1)).astype(np.float32)
    turn = np.array([[3**0.5 / 2, 0.5], [-0.5, 3**0.5 / 2]]) * 1.25
    expected = _scipy(image, turn, (1.6, 1.6))
    np.testing.assert_allclose(moved(config, image), expected, atol=0.01, rtol=0)
    flipped = moved(replace(config, flips=True), image, share=-1.0)
    unflipped = moved(config, image[::-1, ::-1], share=-1.0)
    np.testing.assert_allclose(flipped, unflipped, atol=0.01, rtol=0)


def test_what_comes_in_from_outside_is_black() -> None:
    image = np.full((8, 8, 3), 200, np.float32)
    result = moved(Augmentation(shift=0.25), image)
    np.testing.assert_array_equal(result[:2], 0)
    np.testing.assert_array_equal(result[:, :2], 0)
    np.testing.assert_array_equal(result[2:, 2:], 200)


@pytest.mark.parametrize("share", [-1.0, 1.0])
def test_an_image_shifted_by_nearly_its_side_is_black_but_for_a_corner(share: float) -> None:
    image = np.full((8, 8, 3), 200, np.float32)
    result = moved(Augmentation(shift=0.875), image, share)
    corner = -1 if share > 0 else 0
    assert result[corner, corner, 0] == 200
    assert np.count_nonzero(result[..., 0]) == 1


def test_shifts_are_spread_evenly_up_to_the_largest() -> None:
    image = np.zeros((2000, 16, 16, 1), np.float32)
    image[:, 7:9, 7:9] = 255
    results = changed(Augmentation(shift=0.25), image)[..., 0]
    x = (results.sum(axis=1) * np.arange(16)).sum(axis=1) / results.sum(axis=(1, 2)) - 7.5
    y = (results.sum(axis=2) * np.arange(16)).sum(axis=1) / results.sum(axis=(1, 2)) - 7.5
    for distances in (x, y):
        assert distances.mean() == pytest.approx(0, abs=0.15)
        assert np.abs(distances).mean() == pytest.approx(2, abs=0.1)
        assert np.abs(distances).max() == pytest.approx(4, abs=0.1)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0, abs=0.07)


def test_turns_are_spread_evenly_up_to_the_largest() -> None:
    image = np.zeros((1000, 33, 33, 1), np.float32)
    image[:, 15:18, 25:28] = 255  # to the right of the centre
    results = changed(Augmentation(rotation=40.0), image)[..., 0]
    x = (results.sum(axis=1) * np.arange(33)).sum(axis=1) / results.sum(axis=(1, 2)) - 16
    y = (results.sum(axis=2) * np.arange(33)).sum(axis=1) / results.sum(axis=(1, 2)) - 16
    degrees = np.rad2deg(np.arctan2(y, x))
    assert degrees.mean() == pytest.approx(0, abs=2)
    assert np.abs(degrees).mean() == pytest.approx(20, abs=1)
    assert np.abs(degrees).max() == pytest.approx(40, abs=0.5)


def test_sizes_are_spread_evenly_up_to_the_largest() -> None:
    image = np.zeros((1000, 32, 32, 1), np.float32)
    image[:, 8:24, 8:24] = 255
    sides = np.sqrt(changed(Augmentation(zoom=0.3), image).sum(axis=(1, 2, 3)) / 255) / 16
    assert sides.mean() == pytest.approx(1, abs=0.02)
    assert np.abs(sides - 1).mean() == pytest.approx(0.15, abs=0.01)
    assert sides.min() == pytest.approx(0.7, abs=0.01)
    assert sides.max() == pytest.approx(1.3, abs=0.01)
