"""Images made to do harm: an image or one sentence comes back, in bounded memory and time."""

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image
from support import image_bombs
from support.image_child import Outcome, outcomes
from support.pictures import chunk, encoded, gradient
from support.refused_images import SENTENCE, image_or_sentence

from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import FORMATS, MAX_PIXELS, open_image

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and read by /proc")

# Files that ask for much

bombs = image_bombs
BOMBS: dict[str, tuple[Callable[[], bytes], str | None]] = {
    **{
        f"{name} of {width} x {height}": (
            functools.partial(bombs.declared, name, width, height),
            r"refused|at most 16,384 a side|could not create decoder",
        )
        for name in FORMATS
        for width, height in ((65_535, 65_535), (16_385, 8), (16_383, 16_383))
    },
    "colour profile": (lambda: bombs.png_with(b"iCCP", b"x\0\0" + bombs.zeros(400)), "too large"),
    "text": (lambda: bombs.png_with(b"zTXt", b"x\0\0" + bombs.zeros(400)), "too large"),
    "utf-8": (lambda: bombs.png_with(b"iTXt", b"x\0\1\0\0\0" + bombs.zeros(400)), "too large"),
    "rows beyond the image": (bombs.png_with_long_rows, None),
    "20,000 gif frames": (lambda: bombs.gif_frames(20_000), None),
    "gif frame beyond its screen": (bombs.gif_frame_larger_than_its_screen, "refused"),
    "1,000 webp frames": (lambda: bombs.animated_webp(1000), None),
    "looping tiff": (bombs.looping_tiff, None),
    "50,000 tiff directories": (lambda: bombs.tiff_directories(50_000), None),
    "60,000 tiff strips": (
        lambda: bombs.good_tiff((273, 4, [8] * 60_000), (279, 4, [256] * 60_000), (278, 4, [1])),
        None,
    ),
    "tiff strip of 4 GB": (lambda: bombs.good_tiff((279, 4, [0xFFFFFFFF])), None),
    "tiff of 65,535 channels": (lambda: bombs.good_tiff((277, 3, [65_535])), "cannot|not an image"),
    "tiff tile of 4 gigapixels": (
        lambda: bombs.good_tiff(
            (259, 3, [8]), (322, 4, [1 << 16]), (323, 4, [1 << 16]), (324, 4, [8]), (325, 4, [256])
        ),
        "damaged",
    ),
    "tiff tags one upon another": (bombs.overlapping_tiff, "not an image|damaged"),
    "png exif tags one upon another": (lambda: bombs.exif_bomb("PNG"), None),
    "jpeg exif tags one upon another": (lambda: bombs.exif_bomb("JPEG"), None),
    "webp exif tags one upon another": (lambda: bombs.exif_bomb("WEBP"), None),
}


@pytest.fixture(scope="module")
def bomb_outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All of them in one process."""
    files = [make() for make, _ in BOMBS.values()]
    found = outcomes(files, tmp_path_factory.mktemp("bombs"))
    return dict(zip(BOMBS, found, strict=True))


@linux
@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_or_small_in_memory(bomb_outcomes: dict[str, Outcome], name: str) -> None:
    outcome, message = bomb_outcomes[name], BOMBS[name][1]
    assert outcome.peak_megabytes < 100
    if message is None:  # what is harmful lies beside the image, which is a good one
        assert outcome.size in {(16, 12), (16, 16)}, outcome.refusal
    else:
        assert outcome.refusal is not None
        assert re.search(message, outcome.refusal), outcome.refusal
        assert SENTENCE.fullmatch(outcome.refusal)


@linux
@pytest.mark.parametrize(
    "make",
    [lambda: bombs.progressive_scans(40_000), lambda: bombs.ppm_comments(2_000_000)],
    ids=["40,000 progressive scans", "2,000,000 comments"],
)
def test_small_file_is_refused_when_decoding_it_would_take_minutes(
    make: Callable[[], bytes], tmp_path: Path
) -> None:
    (outcome,) = outcomes([make()], tmp_path, timeout_s=30)
    assert outcome.refusal is not None
    assert SENTENCE.fullmatch(outcome.refusal)


@linux
def test_largest_transparent_image_is_read_in_bounded_memory(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5)
    (outcome,) = outcomes([bombs.png_of_zeros(side)], tmp_path)
    assert outcome.size == (side, side), outcome.refusal  # in 1.5 GB, all libraries included


# Files that are not what they say

FILES = {name: encoded(gradient(), name) for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_image_is_whole_or_refused_when_its_file_is_cut_short(name: str) -> None:
    whole = open_image(FILES[name]).tobytes()
    refused = 0
    for length in range(0, len(FILES[name]), 10):
        image = image_or_sentence(FILES[name][:length])
        if isinstance(image, str):
            refused += 1
        else:
            assert image.tobytes() == whole  # only what follows the pixels was lost
    assert refused > len(FILES[name]) / 10 * 0.5


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".eps"])
def test_image_is_told_from_its_bytes_when_its_suffix_lies(
    name: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"cell{suffix}"
    path.write_bytes(FILES[name])
    assert open_image(path).tobytes() == open_image(FILES[name]).tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_archive_behind_an_image_is_left_alone(name: str) -> None:
    assert open_image(bombs.with_zip(FILES[name])).tobytes() == open_image(FILES[name]).tobytes()


@pytest.mark.parametrize("name", ["cell.eps", "cell.png"])
def test_ghostscript_is_not_started_whatever_the_name_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    path = tmp_path / name
    path.write_bytes(encoded(gradient(), "EPS"))
    with pytest.raises(ImageError, match="not an image that can be read"):
        open_image(path)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
PNG = FILES["PNG"]


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"\0" * 100_000,
        b"P",
        SVG,
        b"GIF89a",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\0",
        b"II+\0\x08\0\0\0" + b"\xff" * 40,
        b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
        b"BM" + b"\xff" * 60,
        b"\xff\xd8" + b"\xff\xe1\xff\xff" * 20_000,
        b"P5 8 8 65536\n" + bytes(128),
        b"P5 8 8 0\n" + bytes(64),
        b"P5 8 8 99999999999999999999\n" + bytes(64),
        b"P5 -8 8 255\n" + bytes(64),
        b"P5 #" + b"x" * 100_000,
        b"P2 8 8 255 " + b"9" * 100_000,
        b"Pf 8 8 nan\n" + bytes(256),
        PNG[:33] + chunk(b"IDAT", b"\x78\x9c") * 20_000,
        PNG[:33] + chunk(b"IHDR", PNG[16:29]) + PNG[33:33],
    ],
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    assert isinstance(image_or_sentence(data), str)


# Damaged EXIF


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [(3, [0]), (3, [9]), (3, [65_535]), (1, [6]), (3, [6, 6]), (4, [0xFFFFFFFF]), (3, [])],
)
def test_orientation_is_ignored_or_refused_when_it_is_none(
    name: str, kind: int, values: list[int]
) -> None:
    exif = b"Exif\0\0" + bombs.tiff([(0x0112, kind, values)], data=b"")
    image = image_or_sentence(encoded(gradient(), name, exif=exif))
    assert isinstance(image, str) or sorted(image.size) == sorted(gradient().size)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("flipped", range(8, 40))
def test_changed_exif_gives_an_image_or_a_sentence(name: str, flipped: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "a cell", {0x9286: b"comment"}
    changed = bytearray(exif.tobytes())
    changed[flipped % len(changed)] ^= 0xFF
    image_or_sentence(encoded(gradient(), name, exif=bytes(changed)))
