"""Pillow images, arrays, open files, paths and other things, odd ones, handed in as an image."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, gradient
from support.refused_images import image_or_sentence

from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import open_image
from edgecell_runtime.preprocess import PreprocessSpec

PNG = encoded(gradient(), "PNG")

# Every mode that Pillow knows

GREY = {"1", "L", "I;16", "I;16L", "I;16B", "I;16N"}
COLOUR = {"P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "La", "PA", "RGBA", "RGBa"}
REFUSED = {"F", "I", "LAB"}


def test_every_mode_of_pillow_has_a_rule() -> None:
    assert set(Image.MODES) == GREY | COLOUR | REFUSED  # a new mode is to be decided on


@pytest.mark.parametrize("mode", Image.MODES)
def test_image_of_every_mode_becomes_8_bit_or_is_refused(mode: str) -> None:
    image = image_or_sentence(Image.new(mode, (9, 8)))
    if mode in REFUSED:
        assert isinstance(image, str)
        assert f"of the mode {mode}" in image
    else:
        assert isinstance(image, Image.Image)
        assert (image.mode, image.size) == ("L" if mode in GREY else "RGB", (9, 8))
        pixels = PreprocessSpec(8, 9).apply(Image.new(mode, (9, 8)))
        assert (pixels.dtype, pixels.shape) == (np.uint8, (8, 9, 3))


@pytest.mark.parametrize("mode", Image.MODES)
@pytest.mark.parametrize(
    "transparency",
    [0, 300, -1, 1.5, "x", None, b"", b"\1" * 300, (1, 2), (0, 0, 0), (999, 0, 0), [], object()],
    ids=lambda value: repr(value)[:20].partition(" at ")[0],
)
def test_transparency_that_makes_no_sense_gives_an_image_or_a_sentence(
    mode: str, transparency: object
) -> None:
    image = Image.new(mode, (8, 8))
    image.info["transparency"] = transparency
    image_or_sentence(image)


# Arrays, and what is no image at all

PIXELS = np.random.default_rng(3).integers(0, 256, (10, 12, 3), np.uint8)
READ_ONLY = PIXELS.copy()
READ_ONLY.flags.writeable = False


class Subclass(np.ndarray):  # type: ignore[type-arg]
    """An array of somebody's own."""


@pytest.mark.parametrize(
    "array",
    [
        PIXELS[::-1, ::-1],
        PIXELS[:, :, ::-1],
        np.repeat(PIXELS, 2, axis=1)[:, ::2],
        np.asfortranarray(PIXELS),
        PIXELS.transpose(1, 0, 2),
        READ_ONLY,
        PIXELS.view(Subclass),
        np.broadcast_to(PIXELS[:1], (10, 12, 3)),
        PIXELS[..., 0],
        PIXELS[..., :1],
    ],
    ids=[
        "turned",
        "bgr",
        "gaps",
        "fortran",
        "axes",
        "read-only",
        "sub",
        "broadcast",
        "grey",
        "one",
    ],
)
def test_array_is_read_as_it_is_whatever_its_memory_looks_like(array: np.ndarray) -> None:  # type: ignore[type-arg]
    image = open_image(array)
    assert np.array_equal(np.asarray(image), np.asarray(array).reshape(np.asarray(image).shape))
    spec = PreprocessSpec(array.shape[0], array.shape[1], "RGB" if image.mode == "RGB" else "L")
    assert np.array_equal(spec.apply(array), np.asarray(array).reshape(spec.shape))


@pytest.mark.parametrize(
    "array",
    [
        PIXELS.astype(object),
        PIXELS.astype(">u2"),
        PIXELS.astype(complex),
        PIXELS.astype("S3"),
        PIXELS.view([("r", "u1"), ("g", "u1"), ("b", "u1")]),
        PIXELS.astype("datetime64[s]"),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((8, 0), np.uint8),
        np.zeros((0, 1 << 30, 3), np.uint8),
        np.zeros((8, 8, 0), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}".replace("'", ""),
)
def test_array_is_refused_when_it_is_no_image(array: np.ndarray) -> None:  # type: ignore[type-arg]
    assert isinstance(image_or_sentence(array), str)
    with pytest.raises(ImageError):
        PreprocessSpec(8, 8).apply(array)


def test_masked_array_is_refused_because_its_mask_would_be_dropped() -> None:
    masked = np.ma.masked_greater(PIXELS, 128)
    assert isinstance(image_or_sentence(masked), str)
    with pytest.raises(ImageError):
        PreprocessSpec(10, 12).apply(masked)


@pytest.mark.parametrize(
    "thing",
    [
        *(None, 7, 1.5, [], [[1, 2], [3, 4]], PIXELS.tolist(), (1, 2), {}, object()),
        *(np.uint8(7), (x for x in b"ab"), Image, len),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_thing_is_refused_with_what_was_expected_when_it_is_no_image(thing: object) -> None:
    for read in (open_image, PreprocessSpec(8, 8).apply):
        with pytest.raises(ImageError, match=r"expected a path, bytes, .*uint8 array") as caught:
            read(thing)  # type: ignore[arg-type]
        assert type(thing).__name__ in str(caught.value)


class OddFile:
    """A file whose ``read`` does as it is told."""

    def __init__(self, read: Callable[[int], object]) -> None:
        self.read = read


def test_file_is_read_to_its_end_when_it_gives_few_bytes_at_a_time() -> None:
    file = io.BytesIO(PNG)
    few = OddFile(lambda size: file.read(7 if size < 0 else min(size, 7)))  # as pipes do
    assert open_image(few).tobytes() == gradient().tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "read",
    [lambda size: None, lambda size: "text", lambda size: 7, lambda size: {}["x"], lambda: b""],
    ids=["nothing", "text", "number", "raises", "takes no size"],
)
def test_open_file_is_refused_when_it_gives_no_bytes(read: Callable[[int], object]) -> None:
    assert isinstance(image_or_sentence(OddFile(read)), str)


class OddPath:
    """A path of any kind."""

    def __init__(self, name: object) -> None:
        self.name = name

    def __fspath__(self) -> object:
        return self.name


def test_path_of_bytes_is_read_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "cell.png").write_bytes(PNG)
    image = open_image(OddPath(bytes(tmp_path / "cell.png")))  # type: ignore[arg-type]
    assert image.tobytes() == gradient().tobytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cell.png")
    assert isinstance(image_or_sentence(tmp_path / "cell.png"), str)
