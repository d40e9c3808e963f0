"""The rules of reading one image, case by case."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import (
    SIXTEEN_BIT_GREY,
    SIXTEEN_BIT_GREY_ALPHA,
    SIXTEEN_BIT_RGB,
    SIXTEEN_BIT_RGBA,
    encoded,
    gradient,
    sixteen_bit_png,
)

from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import ImageSource, open_image

BACKGROUND = (10, 20, 30)


def first_pixel(source: ImageSource) -> tuple[str, object]:
    image = open_image(source, BACKGROUND)
    return image.mode, image.getpixel((0, 0))


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_image_is_read_unchanged_when_its_format_is_lossless(image_format: str) -> None:
    image = gradient().quantize(64).convert("RGB")
    read = open_image(encoded(image, image_format))
    assert (read.mode, read.tobytes()) == ("RGB", image.tobytes())


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_image_is_nearly_unchanged_when_its_format_is_lossy(image_format: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 90, 40))
    read = open_image(encoded(image, image_format, quality=95))
    difference = np.abs(np.asarray(read, int) - np.asarray(image, int))
    assert difference.max() <= 6


def test_image_gives_the_same_pixels_from_path_bytes_image_and_array(tmp_path: Path) -> None:
    image = gradient()
    path = tmp_path / "cell.png"
    path.write_bytes(encoded(image, "PNG"))
    sources: list[ImageSource] = [path, str(path), path.read_bytes(), image, np.asarray(image)]
    assert {open_image(source).tobytes() for source in sources} == {image.tobytes()}


def test_palette_image_becomes_its_colours() -> None:
    image = Image.new("RGB", (8, 8), (200, 0, 100)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert first_pixel(encoded(image, "PNG")) == ("RGB", (200, 0, 100))


def test_palette_image_is_laid_over_the_background_when_it_has_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 100])
    data = encoded(image, "PNG", transparency=bytes([255, 0]))
    assert first_pixel(data) == ("RGB", BACKGROUND)


def test_grey_image_is_laid_over_the_background_when_one_shade_is_transparent() -> None:
    image = Image.new("L", (8, 8), 7)
    image.putpixel((1, 0), 8)
    read = open_image(encoded(image, "PNG", transparency=7), BACKGROUND)
    assert (read.getpixel((0, 0)), read.getpixel((1, 0))) == (BACKGROUND, (8, 8, 8))


def test_one_bit_image_becomes_black_and_white() -> None:
    image = Image.new("1", (8, 8), 1)
    image.putpixel((1, 0), 0)
    read = open_image(encoded(image, "PNG"))
    assert (read.mode, read.getpixel((0, 0)), read.getpixel((1, 0))) == ("L", 255, 0)


def test_grey_image_stays_grey() -> None:
    assert first_pixel(encoded(Image.new("L", (8, 8), 77), "PNG")) == ("L", 77)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("RGBA", (200, 100, 50, 0), BACKGROUND),
        ("RGBA", (200, 100, 50, 51), (48, 36, 34)),  # a fifth of the way
        ("LA", (200, 255), (200, 200, 200)),
        ("LA", (200, 0), BACKGROUND),
    ],
)
def test_transparency_is_laid_over_the_background(
    mode: str, color: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    assert first_pixel(encoded(Image.new(mode, (8, 8), color), "PNG")) == ("RGB", expected)


@pytest.mark.parametrize("mode", ["PA", "RGBa", "La"])
def test_transparency_is_laid_over_the_background_when_pillow_holds_it_otherwise(mode: str) -> None:
    image = Image.new(mode, (8, 8))  # no colour, no opacity
    assert first_pixel(image) == ("RGB", BACKGROUND)


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    assert first_pixel(sixteen_bit_png(SIXTEEN_BIT_GREY, 0x80FF)) == ("L", 0x80)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_sixteen_bit_grey_keeps_its_high_byte_whatever_its_byte_order(mode: str) -> None:
    image = Image.new(mode, (8, 8))
    image.putpixel((0, 0), 0x1234)
    assert first_pixel(image) == ("L", 0x12)


@pytest.mark.parametrize(
    ("color_type", "channels", "expected"),
    [
        (SIXTEEN_BIT_RGB, (0x80FF, 0x1234, 0xFEFF), (0x80, 0x12, 0xFE)),
        (SIXTEEN_BIT_RGBA, (0x80FF, 0x1234, 0xFEFF, 0xFFFF), (0x80, 0x12, 0xFE)),
        (SIXTEEN_BIT_RGBA, (0x80FF, 0x1234, 0xFEFF, 0), BACKGROUND),
        (SIXTEEN_BIT_GREY_ALPHA, (0x80FF, 0xFFFF), (0x80, 0x80, 0x80)),
    ],
)
def test_sixteen_bit_color_keeps_its_high_bytes(
    color_type: int, channels: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    assert first_pixel(sixteen_bit_png(color_type, *channels)) == ("RGB", expected)


def test_cmyk_jpeg_becomes_its_colours() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    mode, pixel = first_pixel(encoded(image, "JPEG", quality=100))
    assert mode == "RGB"
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() <= 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_color_spaces_become_rgb(mode: str) -> None:
    mode_then, pixel = first_pixel(Image.new("RGB", (8, 8), (255, 0, 0)).convert(mode))
    assert mode_then == "RGB"
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() <= 2


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
@pytest.mark.parametrize("information", [{}, {"transparency": 0}])
def test_image_is_refused_when_its_values_have_no_agreed_range(
    mode: str, information: dict[str, int]
) -> None:
    image = Image.new(mode, (8, 8))
    image.info.update(information)
    with pytest.raises(ImageError, match=f"of the mode {mode}.*no agreed range.*8 or 16 bits"):
        open_image(image)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_tiff_is_refused_when_its_values_have_no_agreed_range(mode: str) -> None:
    with pytest.raises(ImageError, match="no agreed range"):
        open_image(encoded(Image.new(mode, (8, 8)), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = gradient()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the camera stored it a quarter turn back
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = open_image(encoded(stored, "PNG", exif=exif))
    assert (read.size, read.tobytes()) == (upright.size, upright.tobytes())


def test_image_is_an_image_or_refused_when_its_exif_is_damaged() -> None:
    damaged = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff\xff\xff\xff\xff"
    data = encoded(gradient(), "JPEG", exif=damaged)
    assert open_image(data).size == gradient().size
    with pytest.raises(ImageError, match="EXIF data that cannot be read"):
        open_image(encoded(gradient(), "PNG", exif=b"no EXIF at all"))


@pytest.mark.parametrize("image_format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_frame_is_taken_when_there_are_several(image_format: str) -> None:
    first, second = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(first, image_format, save_all=True, append_images=[second], **options)
    assert first_pixel(data) == ("RGB", (255, 0, 0))
