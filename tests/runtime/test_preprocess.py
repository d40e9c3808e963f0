import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, gradient

from edgecell_runtime.errors import ImageError
from edgecell_runtime.preprocess import PreprocessSpec


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_apply_gives_the_shape_that_the_graph_takes(mode: str, channels: int) -> None:
    spec = PreprocessSpec(10, 20, color_mode=mode)  # type: ignore[arg-type]
    pixels = spec.apply(gradient(33, 17))
    assert (pixels.shape, pixels.dtype) == ((10, 20, channels), np.uint8)
    assert spec.shape == (10, 20, channels)


def test_apply_changes_nothing_when_size_and_mode_fit() -> None:
    image = gradient()
    assert np.array_equal(PreprocessSpec(12, 16).apply(image), np.asarray(image))


def test_apply_keeps_the_order_red_green_blue() -> None:
    pixels = PreprocessSpec(8, 8).apply(Image.new("RGB", (30, 30), (200, 100, 50)))
    assert (pixels == (200, 100, 50)).all()


def test_apply_repeats_grey_in_three_channels_when_the_graph_takes_color() -> None:
    pixels = PreprocessSpec(8, 8).apply(Image.new("L", (8, 8), 90))
    assert (pixels == (90, 90, 90)).all()


def test_apply_weighs_colors_by_itu_r_601_when_the_graph_takes_grey() -> None:
    pixels = PreprocessSpec(8, 8, color_mode="L").apply(Image.new("RGB", (8, 8), (200, 100, 50)))
    assert (pixels == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()


def test_apply_resizes_as_pillow_does_with_bilinear() -> None:
    image = gradient(40, 30)
    expected = image.resize((9, 11), Image.Resampling.BILINEAR)
    assert np.array_equal(PreprocessSpec(11, 9).apply(image), np.asarray(expected))


def test_apply_averages_when_it_makes_an_image_smaller() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = PreprocessSpec(8, 8).apply(stripes)
    assert 100 <= pixels.min() <= pixels.max() <= 155  # without anti-aliasing: 0 or 255


def test_apply_lays_transparent_pixels_over_the_background() -> None:
    spec = PreprocessSpec(8, 8, background=(1, 2, 3))
    assert (spec.apply(encoded(Image.new("RGBA", (20, 20)), "PNG")) == (1, 2, 3)).all()


def test_apply_refuses_what_is_no_image() -> None:
    with pytest.raises(ImageError, match="not an image that can be read"):
        PreprocessSpec(8, 8).apply(b"no image")


@pytest.mark.parametrize(("height", "width"), [(0, 8), (8, 0), (4097, 8), (8, 4097), (-1, 8)])
def test_spec_is_refused_when_its_size_is_out_of_range(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} x {width} is not between 1 and 4096"):
        PreprocessSpec(height, width)


@pytest.mark.parametrize("background", [(256, 0, 0), (0, -1, 0)])
def test_spec_is_refused_when_its_background_is_no_color(background: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not a colour of 0 to 255"):
        PreprocessSpec(8, 8, background=background)
