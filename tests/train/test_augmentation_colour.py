"""Colours change as configured, and the black background stays black."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from edgecell_export.tensorflow import import_keras
from edgecell_train.augmentation import layer
from edgecell_train.augmentation_colour import change_colours
from edgecell_train.config import Augmentation

LUMA = np.array([0.299, 0.587, 0.114])
PINK = np.array([200, 130, 150], np.float32)


def cells(count: int, side: int = 12) -> Any:
    """Images of mild colours on black."""
    pixels = np.random.default_rng(3).uniform(100, 160, (count, side, side, 3)).astype(np.float32)
    pixels[:, :, : side // 3] = 0
    return pixels


def flat(count: int, colour: Any = PINK) -> Any:
    return np.broadcast_to(colour, (count, 4, 4, 3)).astype(np.float32)


def changed(config: Augmentation, pixels: Any) -> Any:
    made = layer(config, 1)
    assert made is not None
    return import_keras().ops.convert_to_numpy(made(pixels, training=True))


def changed_by(config: Augmentation, pixels: Any, draw: Callable[[float], float]) -> Any:
    """Changes one image by known draws; for what needs no generator."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(1, -1, channels)
    draws = (lambda largest: np.full(1, draw(largest), np.float32), None)
    result = change_colours(rows, (height, width), config, draws)
    return import_keras().ops.convert_to_numpy(result).reshape(pixels.shape)


ALL = [
    Augmentation(brightness=0.5),
    Augmentation(contrast=0.9),
    Augmentation(hue=90.0),
    Augmentation(stain=0.5),
    Augmentation(blur=2.0),
    Augmentation(noise=50.0),
    Augmentation(
        brightness=0.5, contrast=0.9, hue=90.0, stain=0.5, blur=2.0, noise=50.0, shift=0.2
    ),
]


@pytest.mark.parametrize("config", ALL[:-1], ids=str)
def test_black_background_stays_black(config: Augmentation) -> None:
    pixels = cells(16)
    result = changed(config, pixels)
    background = pixels.max(axis=-1) == 0
    np.testing.assert_array_equal(result[background], 0)
    assert np.abs(result - pixels)[~background].mean() > 1


def test_black_that_came_in_from_outside_stays_black() -> None:
    full = np.full((16, 12, 12, 3), 130, np.float32)
    # Geometry draws first: the same seed moves alike with and without colours.
    outside = changed(Augmentation(shift=0.2), full).max(axis=-1) == 0
    assert outside.mean() > 0.1
    result = changed(ALL[-1], full)
    np.testing.assert_array_equal(result[outside], 0)
    assert (result[~outside].max(axis=-1) > 0).all()


def test_a_pixel_that_is_black_in_one_channel_is_no_background() -> None:
    pixels = flat(4, np.array([0, 100, 200]))
    assert (changed(Augmentation(noise=40.0), pixels)[..., 0] > 0).any()


def test_brightness_is_a_share_of_the_value_and_spread_evenly() -> None:
    factors = changed(Augmentation(brightness=0.2), flat(3000))[:, 0, 0] / PINK
    np.testing.assert_allclose(factors, np.repeat(factors[:, :1], 3, axis=1), rtol=1e-4)
    assert factors.mean() == pytest.approx(1, abs=0.01)
    assert np.abs(factors - 1).mean() == pytest.approx(0.1, abs=0.005)
    assert np.abs(factors - 1).max() == pytest.approx(0.2, abs=0.001)


def test_contrast_spreads_values_around_the_mean_of_the_foreground() -> None:
    pixels = cells(2000)
    result = changed(Augmentation(contrast=0.3), pixels)
    inside = (slice(None), slice(None), slice(4, None))
    before, after = pixels[inside].reshape(2000, -1, 3), result[inside].reshape(2000, -1, 3)
    np.testing.assert_allclose((after @ LUMA).mean(axis=1), (before @ LUMA).mean(axis=1), atol=0.1)
    factors = after.std(axis=(1, 2)) / before.std(axis=(1, 2))
    assert factors.mean() == pytest.approx(1, abs=0.02)
    assert np.abs(factors - 1).mean() == pytest.approx(0.15, abs=0.01)
    assert np.abs(factors - 1).max() == pytest.approx(0.3, abs=0.01)


def test_hue_turns_evenly_and_keeps_the_luma() -> None:
    result = changed(Augmentation(hue=60.0), flat(3000))[:, 0, 0]
    np.testing.assert_allclose(result @ LUMA, PINK @ LUMA, atol=0.1)
    i, q = result @ [0.595716, -0.274453, -0.321263], result @ [0.211456, -0.522591, 0.311135]
    start = np.arctan2(PINK @ [0.211456, -0.522591, 0.311135], PINK @ [0.5957, -0.2745, -0.3213])
    degrees = (np.rad2deg(np.arctan2(q, i) - start) + 180) % 360 - 180
    assert degrees.mean() == pytest.approx(0, abs=2)
    assert np.abs(degrees).mean() == pytest.approx(30, abs=1)
    assert np.abs(degrees).max() == pytest.approx(60, abs=0.5)


def _densities(colours: Any) -> Any:
    """Of haematoxylin, eosin and DAB, by their absorption (Ruifrok and Johnston 2001)."""
    absorption = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    return np.linalg.solve(absorption.T, -np.log((colours + 1) / 256).T).T


def test_stain_scales_and_shifts_the_density_of_each_stain() -> None:
    image = cells(1)[0]
    foreground = image[:, 4:].reshape(-1, 3)
    result = changed_by(Augmentation(stain=0.1), image, lambda largest: largest)
    found = _densities(result[:, 4:].reshape(-1, 3))
    np.testing.assert_allclose(found, _densities(foreground) * 1.1 + 0.1, atol=0.002)


def test_stains_change_independently_and_evenly() -> None:
    shifts = [
        _densities(changed(Augmentation(stain=0.1), flat(4000, colour))[:, 0, 0])
        - _densities(colour[None].astype(np.float64))
        for colour in (np.array([180.0, 130, 150]), np.array([190.0, 160, 170]))
    ]
    # Two colours give, for the same draws, a line for each stain: its slope is the scale.
    density = [_densities(np.array([c], np.float64)) for c in ([180, 130, 150], [190, 160, 170])]
    scales = (shifts[0] - shifts[1]) / (density[0] - density[1])
    offsets = shifts[0] - scales * density[0]
    for drawn in (scales, offsets):
        np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(np.abs(drawn).mean(axis=0), 0.05, atol=0.005)
        np.testing.assert_allclose(np.abs(drawn).max(axis=0), 0.1, atol=0.005)
    correlations = np.corrcoef(np.hstack([scales, offsets]).T)
    np.testing.assert_allclose(correlations, np.eye(6), atol=0.06)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5])
def test_blur_is_a_gaussian_over_the_foreground(sigma: float) -> None:
    image = cells(1)[0]
    foreground = (image > 0).astype(np.float64)
    expected = np.zeros_like(image)
    for c in range(3):
        blurred, weight = (
            ndimage.gaussian_filter(x, sigma, mode="constant", truncate=8)
            for x in (image[..., c].astype(np.float64), foreground[..., c])
        )
        expected[..., c] = blurred / np.maximum(weight, 1e-9) * foreground[..., c]
    result = changed_by(Augmentation(blur=1.5), image, lambda largest: sigma)
    np.testing.assert_allclose(result, expected, atol=0.01)


def test_blur_does_not_darken_the_rim_of_a_cell() -> None:
    image = np.zeros((12, 12, 3), np.float32)
    image[3:9, 3:9] = PINK
    result = changed_by(Augmentation(blur=2.0), image, lambda largest: largest)
    np.testing.assert_allclose(result, image, atol=0.01)


def test_blur_goes_along_all_axes_of_volumes() -> None:
    volume = np.full((1, 6, 8, 10, 1), 1, np.float32)
    volume[0, 2, 4, 5] = 200
    rows = volume.reshape(1, -1, 1)
    draws = (lambda largest: np.full(1, largest, np.float32), None)
    result = change_colours(rows, (6, 8, 10), Augmentation(blur=1.0), draws)
    blurred = import_keras().ops.convert_to_numpy(result).reshape(6, 8, 10)
    volume, ones = volume[0, ..., 0].astype(np.float64), np.ones((6, 8, 10))
    expected, weight = (
        ndimage.gaussian_filter(x, 1.0, mode="constant", truncate=8) for x in (volume, ones)
    )
    np.testing.assert_allclose(blurred, expected / weight, atol=0.01)


def test_noise_has_a_deviation_spread_evenly_up_to_the_largest() -> None:
    pixels = np.full((1000, 24, 24, 3), 128, np.float32)
    difference = changed(Augmentation(noise=10.0), pixels) - pixels
    deviations = difference.std(axis=(1, 2, 3))
    assert difference.mean() == pytest.approx(0, abs=0.05)
    assert deviations.mean() == pytest.approx(5, abs=0.3)
    assert deviations.max() == pytest.approx(10, abs=0.6)
    neighbours = difference[:, :-1].ravel(), difference[:, 1:].ravel()
    assert np.corrcoef(*neighbours)[0, 1] == pytest.approx(0, abs=0.01)


def test_grey_images_have_no_hue_and_no_stain() -> None:
    grey = cells(8)[..., :1]
    np.testing.assert_array_equal(changed(Augmentation(hue=90.0, stain=0.5), grey), grey)


def test_grey_images_change_their_light() -> None:
    grey = np.full((50, 4, 4, 1), 100, np.float32)
    factors = changed(Augmentation(brightness=0.2), grey)[:, 0, 0, 0] / 100
    assert np.abs(factors - 1).max() == pytest.approx(0.2, abs=0.02)
    assert len(np.unique(factors)) == 50
