from pathlib import Path

import numpy as np

from edgecell_export.pixels import PixelFile

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)


def test_pixel_file_gives_back_what_was_appended(tmp_path: Path) -> None:
    pixels = PixelFile(tmp_path / "pixels", (4, 5, 3))
    pixels.append(IMAGES[:3])
    pixels.append(iter(IMAGES[3:]))
    assert len(pixels) == 7
    batches = list(pixels.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), IMAGES)


def test_pixel_file_gives_the_first_images_only(tmp_path: Path) -> None:
    pixels = PixelFile(tmp_path / "pixels", (4, 5, 3))
    pixels.append(IMAGES)
    assert np.array_equal(np.concatenate(list(pixels.batches(3, first=4))), IMAGES[:4])
    assert np.array_equal(pixels.first(5), IMAGES[:5])
    assert np.array_equal(pixels.first(50), IMAGES)
