"""The slide around a cell becomes background, and nothing else does."""

import ctypes
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from support.pictures import encoded

from edgecell_runtime import masking
from edgecell_runtime.masking import mask_slide
from edgecell_runtime.preprocess import PreprocessSpec

BLACK = (0, 0, 0)
SLIDE, CELL, PALE, PARASITE = (235, 220, 225), (200, 150, 160), (232, 218, 222), (110, 30, 120)
SOURCE = Path(__file__).parents[2] / "runtime" / "examples" / "mask_slide.c"

Pixels = NDArray[np.uint8]


def draw(*, slide: tuple[int, int, int] = SLIDE, cell: tuple[int, int, int] = CELL) -> Image.Image:
    image = Image.new("RGB", (48, 48), slide)
    pen = ImageDraw.Draw(image)
    pen.ellipse((3, 2, 44, 45), fill=cell)
    pen.ellipse((30, 12, 35, 17), fill=PARASITE)
    return image


def array(image: Image.Image) -> Pixels:
    return np.asarray(image, np.uint8)


def kept(pixels: Pixels, background: tuple[int, ...] = BLACK) -> NDArray[np.bool_]:
    """Where something else than the background is left."""
    return np.any(mask_slide(pixels, background) != background, axis=2)


def test_slide_becomes_background_and_the_cell_stays() -> None:
    pixels = array(draw())
    assert np.array_equal(mask_slide(pixels, BLACK), array(draw(slide=BLACK)))


@pytest.mark.parametrize("background", [BLACK, (10, 200, 30), (255, 255, 255)])
def test_cell_on_the_background_is_left_alone(background: tuple[int, int, int]) -> None:
    pixels = array(draw(slide=background))
    assert mask_slide(pixels, background) is pixels


def test_cell_on_a_background_that_was_compressed_is_left_alone() -> None:
    pixels = np.maximum(array(draw(slide=BLACK)), 12)
    assert mask_slide(pixels, BLACK) is pixels


def test_pale_middle_of_a_cell_stays() -> None:
    image = draw()
    ImageDraw.Draw(image).ellipse((16, 20, 28, 30), fill=PALE)
    assert np.array_equal(kept(array(image)), kept(array(draw())))


def test_cell_beside_is_painted_when_it_does_not_touch() -> None:
    image = draw()
    ImageDraw.Draw(image).polygon([(0, 0), (7, 0), (0, 7)], fill=CELL)
    assert np.array_equal(kept(array(image)), kept(array(draw())))


def test_cell_beside_stays_when_it_touches() -> None:
    image = draw()
    ImageDraw.Draw(image).rectangle((0, 20, 10, 28), fill=CELL)
    assert kept(array(image))[24, 0]


def test_slide_with_a_gradient_and_noise_becomes_background() -> None:
    slope = np.linspace(-10, 10, 48)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 3, (48, 48, 3))
    pixels = np.clip(array(draw()) + slope + noise, 0, 255).astype(np.uint8)
    wrong = kept(pixels) != kept(array(draw()))
    assert wrong.mean() < 0.005


@pytest.mark.parametrize("color", [SLIDE, CELL, (255, 255, 255)])
def test_image_of_one_colour_is_left_alone(color: tuple[int, int, int]) -> None:
    pixels = array(Image.new("RGB", (48, 48), color))
    assert mask_slide(pixels, BLACK) is pixels


def test_cell_that_fills_the_crop_is_left_alone() -> None:
    image = draw()
    ImageDraw.Draw(image).rectangle((0, 4, 47, 43), fill=CELL)
    ImageDraw.Draw(image).rectangle((4, 0, 43, 47), fill=CELL)
    pixels = array(image)
    assert mask_slide(pixels, BLACK) is pixels


def odd_images(count: int, channels: int = 3) -> list[Pixels]:
    """Blobs, noise and bars of many sizes."""
    rng = np.random.default_rng(7)
    images = []
    for index in range(count):
        height, width = rng.integers(1, 40, 2) if index % 5 == 0 else rng.integers(16, 60, 2)
        coarse = rng.integers(0, 256, (rng.integers(1, 9), rng.integers(1, 9), 3), np.uint8)
        blobs = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
        pixels = array(blobs).astype(float)
        if index % 3:
            pixels = 225 - 0.4 * (225 - pixels)
            center = ((height - 1) / 2, (width - 1) / 2)
            down, right = np.mgrid[:height, :width]
            far = np.hypot((down - center[0]) / height, (right - center[1]) / width)
            pixels[far < rng.uniform(0.3, 0.55)] -= rng.uniform(20, 120)
        pixels += rng.normal(0, rng.choice([0, 2, 10]), pixels.shape)
        images.append(np.clip(pixels, 0, 255).astype(np.uint8)[..., :channels])
    return images


def test_second_time_changes_nothing() -> None:
    changed = 0
    for pixels in odd_images(200):
        once = mask_slide(pixels, BLACK)
        assert mask_slide(once, BLACK) is once
        changed += once is not pixels
    assert 40 < changed < 200


def flooded(allowed: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixel by pixel."""
    reached = allowed & start
    queue = deque(zip(*np.nonzero(reached), strict=True))
    while queue:
        row, column = queue.popleft()
        for at in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= at[0] < allowed.shape[0] and 0 <= at[1] < allowed.shape[1]
            if inside and allowed[at] and not reached[at]:
                reached[at] = True
                queue.append(at)
    return reached


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_what_is_connected_is_what_a_flood_reaches(share: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        allowed = rng.random((31, 23)) < share
        start = rng.random((31, 23)) < 0.02
        assert np.array_equal(masking._reached(allowed, start), flooded(allowed, start))


def test_apply_masks_after_the_resize() -> None:
    spec = PreprocessSpec(24, 20, masking="slide")
    resized = PreprocessSpec(24, 20).apply(draw())
    found = spec.apply(encoded(draw(), "PNG"))
    assert np.array_equal(found, mask_slide(resized, BLACK))
    assert not np.array_equal(found, resized)


def test_apply_masks_an_array_that_has_the_size_already() -> None:
    pixels = array(draw())
    found = PreprocessSpec(48, 48, masking="slide").apply(pixels)
    assert np.array_equal(found, mask_slide(pixels, BLACK))
    assert np.array_equal(pixels, array(draw()))  # the caller's own stays as it was


def test_apply_masks_grey_images_with_the_background_in_grey() -> None:
    spec = PreprocessSpec(48, 48, color_mode="L", background=(30, 60, 90), masking="slide")
    assert spec.apply(draw())[0, 0] == round(0.299 * 30 + 0.587 * 60 + 0.114 * 90)


@pytest.mark.parametrize("size", [{"height": 257}, {"width": 257}, {"depth": 4}])
def test_masking_is_refused_when_images_are_large_or_volumes(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="masked in images of at most 256 pixels a side"):
        PreprocessSpec(**{"height": 16, "width": 16, **size}, masking="slide")


@pytest.fixture(scope="module")
def in_c(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Pixels, tuple[int, ...]], Pixels]:
    """The example for microcontrollers, compiled for this machine."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("c") / "mask_slide.so"
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, SOURCE, "-o", library], check=True)
    function = ctypes.CDLL(str(library)).mask_slide

    def masked(pixels: Pixels, color: tuple[int, ...]) -> Pixels:
        height, width, channels = pixels.shape
        found = np.ascontiguousarray(pixels).copy()
        scratch = np.empty((height, width), np.uint8)
        background = np.array(color, np.uint8)
        pointers = [one.ctypes.data_as(ctypes.c_void_p) for one in (found, background, scratch)]
        function(pointers[0], height, width, channels, *pointers[1:])
        return found

    return masked


@pytest.mark.parametrize("background", [(0,), (0, 0, 0), (7,), (7, 130, 250)])
def test_c_masks_the_same_pixels(
    in_c: Callable[[Pixels, tuple[int, ...]], Pixels], background: tuple[int, ...]
) -> None:
    channels = len(background)
    for pixels in [*odd_images(200, channels), array(draw())[..., :channels]]:
        expected = mask_slide(pixels, background)
        np.testing.assert_array_equal(in_c(pixels, background), expected)
