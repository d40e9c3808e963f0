"""Labelled images in HDF5, and what a file may not do."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, MissingPartError
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.stored_images import image_sha256
from edgecell_train import hdf5_images
from edgecell_train.hdf5_images import open_data

h5py = pytest.importorskip("h5py")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 11, 3), np.uint8)
LABELS = np.array([1, 0, 1, 0, 1, 0])


def write(path: Path, compression: str | None = None, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            kept = compression if np.ndim(array) > 1 else None
            file.create_dataset(name, data=array, compression=kept)
    return path


def rows_of(path: Path) -> dict[str, NDArray[np.uint8]]:
    with open_data(path) as labelled:
        rows = {image.name: labelled.read(image) for image in labelled}
    assert all(isinstance(row, np.ndarray) for row in rows.values())
    return {name: np.array(row) for name, row in rows.items()}


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_row_is_read_as_its_image_however_it_is_stored(
    tmp_path: Path, compression: str | None, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(hdf5_images, "MAX_HELD_BYTES", 10)
    path = write(tmp_path / "cells.h5", compression, images=PIXELS, labels=LABELS)
    rows = rows_of(path)
    assert list(rows) == sorted(rows)
    assert len(rows) == 6
    for name, row in rows.items():
        np.testing.assert_array_equal(row, PIXELS[int(name.rpartition("-")[2])])


def test_same_images_have_the_same_hashes_in_hdf5_and_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "cells.npz", x_train=PIXELS, y_train=LABELS)
    first = rows_of(write(tmp_path / "cells.h5", x_train=PIXELS, y_train=LABELS))
    second = rows_of(tmp_path / "cells.npz")
    assert {name: image_sha256(row) for name, row in first.items()} == {
        name: image_sha256(row) for name, row in second.items()
    }


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("X", "y"),
        ("X", "Y"),
        ("x_train", "y_train"),
        ("train_set_x", "train_set_y"),
        ("train/images", "train/labels"),
    ],
)
def test_usual_pairs_of_names_are_known(tmp_path: Path, images: str, labels: str) -> None:
    with open_data(write(tmp_path / "a.hdf5", **{images: PIXELS, labels: LABELS})) as labelled:
        assert len(labelled) == 6
        assert labelled.labels == ("0", "1")


def test_course_file_gives_label_names_and_a_test_part(tmp_path: Path) -> None:
    path = write(
        tmp_path / "cells.h5",
        train_set_x=PIXELS,
        train_set_y=LABELS,
        test_set_x=PIXELS[:2],
        test_set_y=LABELS[:2],
        list_classes=np.array([b"uninfected", b"parasitised"]),
    )
    with open_data(path) as labelled:
        assert labelled.labels == ("parasitised", "uninfected")
        assert labelled.notes == ()
        assert [image.part for image in labelled].count("test") == 2
        image = labelled.get("parasitised/train_set_x-00002")
        assert image is not None
        np.testing.assert_array_equal(labelled.read(image), PIXELS[2])


def test_labels_may_be_words_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5"
    with h5py.File(path, "w") as file:
        file["x"] = PIXELS
        file["y"] = ["ring", "none", "ring", "none", "schizont", "none"]
    with open_data(path) as labelled:
        assert labelled.labels == ("none", "ring", "schizont")


def test_patients_come_from_their_own_array(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["y"], file["patients"] = PIXELS, LABELS, ["P1", "P2"] * 3
    with open_data(path) as labelled:
        assert {image.patient for image in labelled} == {"P1", "P2"}


def test_other_sets_are_opened_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "cells.npz", x=PIXELS, y=LABELS)
    with open_data(tmp_path / "cells.npz") as labelled:
        assert len(labelled) == 6
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        open_data(tmp_path / "nowhere.h5")


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    stamps = set()
    for pixels in (PIXELS, PIXELS[:4]):
        path = write(tmp_path / "cells.h5", images=pixels, labels=LABELS[: len(pixels)])
        with open_data(path) as labelled:
            stamps.add(labelled.stamp())
    assert len(stamps) == 2


# What is refused


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught, open_data(path) as labelled:
        labelled.read(next(iter(labelled)))
    return str(caught.value)


def test_unclear_arrays_are_refused_with_a_list_of_what_there_is(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "a.h5", pictures=PIXELS, kinds=LABELS))
    assert "It holds kinds int64 (6,), pictures uint8 (6, 9, 11, 3); expected x_train" in said


def test_images_of_fractions_are_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "a.h5", "gzip", x=PIXELS / 255, y=LABELS))
    assert "not whole numbers from 0 to 255" in said


def test_labels_that_are_neither_numbers_nor_words_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = PIXELS
        kept = file.create_dataset("y", (6,), h5py.vlen_dtype(np.int64))
        kept[0] = [1, 2]
    assert "neither numbers nor words" in refused(path)


def test_array_whose_values_are_in_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(PIXELS.tobytes())
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["y"] = LABELS
        outside = [(str(tmp_path / "secret"), 0, PIXELS.nbytes)]
        file.create_dataset("x", PIXELS.shape, np.uint8, external=outside)
    assert "values are in other files" in refused(path)


def test_virtual_array_is_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other.h5", x=PIXELS)
    layout = h5py.VirtualLayout(PIXELS.shape, np.uint8)
    layout[...] = h5py.VirtualSource(other, "x", PIXELS.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["y"] = LABELS
        file.create_virtual_dataset("x", layout)
    assert "values are in other files" in refused(tmp_path / "a.h5")


def test_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "other.h5", x=PIXELS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["y"] = LABELS
        file["x"] = h5py.ExternalLink("other.h5", "x")
    assert "It holds y int64 (6,); expected" in refused(tmp_path / "a.h5")


@pytest.mark.parametrize("keep", [8, 40, 600])
def test_file_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.h5", x=PIXELS, y=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be opened as HDF5" in refused(path)


def test_array_that_claims_more_than_may_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_images, "MAX_LABEL_BYTES", 10)
    assert "up to 10 are read at once" in refused(write(tmp_path / "a.h5", x=PIXELS, y=LABELS))


def test_without_h5py_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.h5", x=PIXELS, y=LABELS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPartError, match=r"pip install 'edgecell\[train\]'"):
        open_data(path)


def test_runtime_says_that_it_does_not_read_hdf5(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="HDF5"):
        open_labelled(write(tmp_path / "a.h5", x=PIXELS, y=LABELS))
