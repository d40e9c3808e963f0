"""The changes of cells in ``benchmarks/laboratories.py``."""

import numpy as np
import pytest
from laboratories import BACKGROUNDS, CHANGES
from numpy.typing import NDArray
from slides import Cell, Change

from edgecell_runtime.masking import mask_slide

Pixels = NDArray[np.uint8]
ON_BLACK = {"as it is, on black", "black, margin of 20 %"}


def draw(color: tuple[int, int, int] = (190, 140, 150)) -> Pixels:
    down, right = np.mgrid[-25:25, -25:25] + 0.5
    inside = np.hypot(down, right) < 23
    texture = np.random.default_rng(0).integers(-20, 20, (50, 50, 1))
    return np.where(inside[..., None], np.array(color) + texture, 0).astype(np.uint8)


def changed(change: Change) -> Pixels:
    return change(Cell(draw(), draw((150, 150, 200)), np.random.default_rng(1)))


@pytest.mark.parametrize("name", [*BACKGROUNDS, *CHANGES])
def test_change_keeps_size_and_dtype_and_the_same_draws(name: str) -> None:
    change = {**BACKGROUNDS, **CHANGES}[name]
    found = changed(change)
    assert (found.shape, found.dtype) == ((50, 50, 3), np.uint8)
    assert np.array_equal(found, changed(change))
    assert np.array_equal(found, draw()) == (name == "as it is, on black")


@pytest.mark.parametrize("name", [name for name in CHANGES if not name.startswith("JPEG")])
def test_change_of_a_cell_leaves_the_black_around_it(name: str) -> None:
    outside = draw().max(axis=2) == 0
    assert not changed(CHANGES[name])[outside].any()


@pytest.mark.parametrize("name", sorted(set(BACKGROUNDS) - ON_BLACK))
def test_background_is_bright_and_masking_takes_it_away(name: str) -> None:
    found = changed(BACKGROUNDS[name])
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.sort(corners.min(axis=1))[1] > 150  # another cell may lie in one of them
    masked = mask_slide(found, (0, 0, 0))
    assert masked[25, 25].any()
    assert np.mean(masked.max(axis=2) == 0) > 0.2
