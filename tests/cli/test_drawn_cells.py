import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgecell.drawn_cells import Stain, draw_cell, write_drawn_cells
from edgecell_runtime.errors import UsageError

NAME = re.compile(r"cell_images/(Parasitized|Uninfected)/C\d+P(\d+)ThinF_IMG_drawn_cell_\d+\.png")
COUNT, PATIENTS = 900, 30


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "cells.zip"
    write_drawn_cells(path, count=COUNT, patients=PATIENTS)
    return path


@pytest.fixture(scope="module")
def cells(archive: Path) -> list[tuple[bool, int, NDArray[np.uint8]]]:
    """Parasitised or not, patient, and pixels: uint8 (height, width, 3)."""
    with zipfile.ZipFile(archive) as opened:
        found = []
        for name in opened.namelist():
            match = NAME.fullmatch(name)
            assert match, name
            with Image.open(io.BytesIO(opened.read(name))) as image:
                assert image.mode == "RGB"
                found.append((match[1] == "Parasitized", int(match[2]), np.asarray(image)))
        return found


def draw_pair(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws one cell without and with its parasite: float64 (height, width, 3), 0-255."""
    stain = Stain.of_patient(np.random.default_rng(seed))
    uninfected, parasitized = (
        np.asarray(draw_cell(np.random.default_rng(seed), stain, parasitized=value), float)
        for value in (False, True)
    )
    return uninfected, parasitized


def test_write_drawn_cells_repeats_itself_byte_for_byte(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    write_drawn_cells(first, count=40, patients=4, seed=7)
    write_drawn_cells(second, count=40, patients=4, seed=7)
    assert first.read_bytes() == second.read_bytes()


def test_write_drawn_cells_draws_every_cell_anew_when_the_seed_differs(tmp_path: Path) -> None:
    pictures = []
    for seed in (1, 2):
        write_drawn_cells(tmp_path / "cells.zip", count=20, patients=2, seed=seed)
        with zipfile.ZipFile(tmp_path / "cells.zip") as opened:
            pictures += [opened.read(name) for name in opened.namelist()]
    assert len(set(pictures)) == 40


def test_write_drawn_cells_only_adds_cells_when_the_count_grows(
    archive: Path, tmp_path: Path
) -> None:
    write_drawn_cells(tmp_path / "few.zip", count=60, patients=PATIENTS)
    with zipfile.ZipFile(tmp_path / "few.zip") as few, zipfile.ZipFile(archive) as many:
        assert len(few.namelist()) == 60
        assert all(few.read(name) == many.read(name) for name in few.namelist())


def test_write_drawn_cells_gives_every_patient_as_many_cells_of_each_class(
    cells: list[tuple[bool, int, NDArray[np.uint8]]],
) -> None:
    counts = np.zeros((2, PATIENTS + 1), int)
    for parasitized, patient, _ in cells:
        counts[int(parasitized), patient] += 1
    assert np.all(counts[:, 1:] == COUNT // 2 // PATIENTS)


def test_write_drawn_cells_replaces_a_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "cells.zip"
    target.write_bytes(b"old")
    write_drawn_cells(target, count=4, patients=2)
    assert zipfile.is_zipfile(target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("count", "patients", "seed"), [(10, 0, 0), (10, 6, 0), (11, 2, 0), (10, 2, -1)]
)
def test_write_drawn_cells_refuses_numbers_that_do_not_fit(
    tmp_path: Path, count: int, patients: int, seed: int
) -> None:
    with pytest.raises(UsageError, match="cannot be drawn"):
        write_drawn_cells(tmp_path / "cells.zip", count=count, patients=patients, seed=seed)
    assert not list(tmp_path.iterdir())


def test_drawn_cells_are_crops_on_black_that_reach_the_borders(
    cells: list[tuple[bool, int, NDArray[np.uint8]]],
) -> None:
    for _, _, pixels in cells:
        height, width, _ = pixels.shape
        assert 90 <= min(height, width) <= max(height, width) <= 180
        corners = pixels[:: height - 1, :: width - 1]
        assert not corners.any()
        cell = pixels.any(axis=2)
        assert 0.6 < cell.mean() < 0.95
        assert all(edge.any() for edge in (cell[:6], cell[-6:], cell[:, :6], cell[:, -6:]))


def test_drawn_cells_vary_in_size_and_shape(
    cells: list[tuple[bool, int, NDArray[np.uint8]]],
) -> None:
    assert len({pixels.shape for _, _, pixels in cells}) > 100


def test_a_parasite_makes_a_small_part_of_its_cell_darker_and_more_purple() -> None:
    for seed in range(60):
        uninfected, parasitized = draw_pair(seed)
        assert uninfected.shape == parasitized.shape
        cell = uninfected.any(axis=2)
        taken = (uninfected - parasitized)[cell]
        parasite = taken[:, 1] > 12
        assert 0.001 < parasite.mean() < 0.12
        red, green, blue = taken[parasite].mean(axis=0)
        # Purple is what is left when mostly green is taken.
        assert green > 1.5 * max(red, blue)
        assert min(red, blue) > 0


def test_the_darkest_spot_of_a_drawn_cell_does_not_tell_its_class(
    cells: list[tuple[bool, int, NDArray[np.uint8]]],
) -> None:
    labels = np.array([parasitized for parasitized, _, _ in cells])
    darkness = []
    for _, _, pixels in cells:
        brightness = pixels[pixels.any(axis=2)].mean(axis=1)
        darkness.append(np.median(brightness) - np.percentile(brightness, 0.3))
    limits = np.percentile(darkness, np.arange(5, 100, 5))
    best = max(np.mean((np.array(darkness) > limit) == labels) for limit in limits)
    assert best < 0.85


def test_the_mean_colour_of_a_drawn_cell_hardly_tells_its_class(
    cells: list[tuple[bool, int, NDArray[np.uint8]]],
) -> None:
    features = np.array([(*p.mean(axis=(0, 1)), *p.std(axis=(0, 1))) for _, _, p in cells])
    labels = np.array([parasitized for parasitized, _, _ in cells])
    patients = [patient for _, patient, _ in cells]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100, max_iter=10_000))
    # Each fold holds out patients of its own; the mean of five is steadier than one.
    accuracies = cross_val_score(model, features, labels, groups=patients, cv=GroupKFold(5))
    assert accuracies.mean() < 0.75
