"""What is refused as an image, and that nothing but an ImageError says so."""

import io
import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import encoded, gradient, huge_png

from edgecell_runtime import images
from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import ImageSource, open_image

PNG, JPEG = encoded(gradient(), "PNG"), encoded(gradient(), "JPEG")
TIFF, GIF = encoded(gradient(), "TIFF"), encoded(gradient(), "GIF")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "int64", "bool"])
def test_array_is_refused_when_it_is_not_uint8(dtype: str) -> None:
    with pytest.raises(ImageError, match=f"of dtype {dtype}; expected uint8"):
        open_image(np.zeros((8, 8, 3), dtype))


@pytest.mark.parametrize("shape", [(), (64,), (8, 8, 2), (8, 8, 4), (3, 8, 8), (1, 8, 8, 3)])
def test_array_is_refused_when_its_shape_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="has the shape"):
        open_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_array_is_grey_when_it_has_one_channel(shape: tuple[int, ...]) -> None:
    image = open_image(np.full(shape, 9, np.uint8))
    assert (image.mode, image.getpixel((7, 7))) == ("L", 9)


def test_array_may_be_a_view_with_strides() -> None:
    array = np.asarray(gradient())
    assert open_image(array[:, ::-1]).getpixel((0, 0)) == tuple(array[0, -1])


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 7)])
@pytest.mark.parametrize("make", [lambda image: image, np.asarray, lambda i: encoded(i, "PNG")])
def test_image_is_refused_when_it_is_tiny(size: tuple[int, int], make: object) -> None:
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} pixels; at least 8 a side"):
        open_image(make(Image.new("RGB", size)))  # type: ignore[operator]


def test_array_is_refused_when_it_has_no_pixels() -> None:
    with pytest.raises(ImageError, match="at least 8 a side"):
        open_image(np.zeros((0, 8, 3), np.uint8))


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000), (16_385, 8), (8, 16_385)])
def test_image_is_refused_before_it_is_decoded_when_its_header_says_it_is_huge(
    size: tuple[int, int],
) -> None:
    data = huge_png(*size)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"refused|at most 16,384 a side and 67,108,864"):
            open_image(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_array_is_refused_before_it_is_copied_when_it_is_huge() -> None:
    array = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (1 << 20, 1 << 20, 3))
    with pytest.raises(ImageError, match="at most 16,384 a side"):
        open_image(array)


def test_image_is_refused_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"There is no file .*missing\.png; check the path"):
        open_image(tmp_path / "missing.png")


def test_image_is_refused_when_it_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder; expected an image file"):
        open_image(tmp_path)


@pytest.mark.parametrize("name", ["cell\0.png", "x" * 5000])
def test_image_is_refused_when_no_file_can_have_its_name(name: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(name)


def test_image_is_refused_when_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty \(0 bytes\)"):
        open_image(path)


def test_image_file_is_refused_unread_when_it_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        os.truncate(file.fileno(), images.MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match="268,435,457 bytes; image files are read up to"):
        open_image(path)


@pytest.mark.parametrize("data", [PNG, JPEG, TIFF, GIF], ids=["png", "jpeg", "tiff", "gif"])
def test_image_is_refused_when_it_is_cut_short(data: bytes) -> None:
    for length in (1, 4, 20, len(data) // 2):
        with pytest.raises(ImageError):
            open_image(data[:length])


def test_image_is_refused_when_it_is_text() -> None:
    with pytest.raises(ImageError, match="not an image that can be read; expected one of PNG"):
        open_image(b"<html>404 Not Found</html>")


@pytest.mark.parametrize("image_format", ["EPS", "PDF", "ICO", "TGA", "PCX", "JPEG2000"])
def test_image_is_refused_when_its_format_is_not_allowed(image_format: str) -> None:
    with pytest.raises(ImageError, match="not an image that can be read"):
        open_image(encoded(gradient(), image_format))


def test_pillow_image_is_refused_when_its_file_is_cut_short() -> None:
    image = Image.open(io.BytesIO(PNG[: len(PNG) // 2]))
    with pytest.raises(ImageError, match="damaged, cut short or closed"):
        open_image(image)


def test_pillow_image_is_refused_when_it_is_closed() -> None:
    image = gradient()
    image.close()
    with pytest.raises(ImageError, match="damaged, cut short or closed"):
        open_image(image)


def test_warnings_are_shown_as_before_when_two_threads_have_decoded() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        first, second = images._WARNINGS.ignored(), images._WARNINGS.ignored()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert warnings.filters[0][0] == "ignore"  # the second still decodes
        second.__exit__(None, None, None)
        assert warnings.filters == before


def image_or_error(source: ImageSource) -> None:
    try:
        image = open_image(source)
    except ImageError:
        return
    assert image.mode in {"RGB", "L"}
    assert min(image.size) >= images.MIN_SIDE


@given(st.binary(max_size=400))
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    image_or_error(data)


@settings(max_examples=200)
@given(
    st.sampled_from([PNG, JPEG, TIFF, GIF]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_files_give_an_image_or_an_image_error(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(changed)] = value
    image_or_error(bytes(changed))
