"""Labelled images in NumPy's .npz: which arrays are what, and what is refused."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_runtime import array_images
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.labelled import LabelledImage, open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.stored_images import image_sha256

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9, 11), np.uint8)
COLOUR = RNG.integers(0, 256, (4, 9, 11, 3), np.uint8)
DIGITS = np.array([3, 1, 3, 0, 1, 0])

Save = Callable[..., None]


@pytest.fixture(params=[np.savez, np.savez_compressed])
def save(request: pytest.FixtureRequest) -> Save:
    saver: Save = request.param
    return saver


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def labels_of(path: Path) -> list[str]:
    with open_labelled(path) as labelled:
        by_row = sorted(labelled, key=lambda image: image.name.rpartition("-")[2])
        return [image.label for image in by_row]


# What a set gives


def test_rows_come_with_names_labels_and_parts(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "digits.npz"
    save(path, x_train=GREY, y_train=DIGITS, x_test=GREY[:2], y_test=DIGITS[:2])

    with open_labelled(path) as labelled:
        assert labelled.labels == ("0", "1", "3")
        assert len(labelled) == 8
        assert labelled.get("3/x_train-00002") == LabelledImage(
            "3/x_train-00002", "3", None, "training"
        )
        assert labelled.get("1/x_test-00001") == LabelledImage("1/x_test-00001", "1", None, "test")
        assert labelled.location == path
        assert labelled.notes == ()


@pytest.mark.parametrize("by_columns", [False, True])
def test_every_row_is_read_as_its_image(tmp_path: Path, save: Save, by_columns: bool) -> None:
    path = tmp_path / "digits.npz"
    save(path, images=np.asfortranarray(GREY) if by_columns else GREY, labels=DIGITS)

    with open_labelled(path) as labelled:
        for image in labelled:
            row = labelled.read(image)
            assert isinstance(row, np.ndarray)
            assert type(row) is np.ndarray
            assert row.dtype == np.uint8
            index = int(image.name.rpartition("-")[2])
            np.testing.assert_array_equal(row, GREY[index][:, :, np.newaxis])


def test_colour_rows_are_read_and_preprocessed(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "cells.npz"
    save(path, X=COLOUR, y=["b", "a", "b", "a"])

    with open_labelled(path) as labelled:
        image = labelled.get("a/X-00001")
        assert image is not None
        row = labelled.read(image)
        np.testing.assert_array_equal(row, COLOUR[1])
        assert PreprocessSpec(9, 11).apply(row) is row
        assert PreprocessSpec(16, 16, "L").apply(row).shape == (16, 16, 1)


def test_grey_row_of_the_graphs_size_takes_the_shortest_way(tmp_path: Path) -> None:
    with open_labelled(write(tmp_path / "d.npz", images=GREY, labels=DIGITS)) as labelled:
        row = labelled.read(next(iter(labelled)))
        assert PreprocessSpec(9, 11, "L").apply(row) is row


def test_uncompressed_images_are_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    with open_labelled(write(tmp_path / "d.npz", images=GREY, labels=DIGITS)) as labelled:
        row = labelled.read(next(iter(labelled)))
        assert isinstance(row, np.ndarray)
        assert not row.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            row[0] = 0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 0, 1, 0, 1, 0], np.uint8), list("101010")),
        (np.array([1.0, 0, 1, 0, 1, 0]), list("101010")),
        (np.array([[1], [0], [1], [0], [1], [0]]), list("101010")),
        (np.array([[1, 0, 1, 0, 1, 0]]), list("101010")),
        (np.eye(3)[[2, 0, 1, 2, 0, 1]], list("201201")),
        (np.eye(3, dtype=bool)[[2, 0, 1, 2, 0, 1]], list("201201")),
        (np.array(["ring", "none"] * 3), ["ring", "none"] * 3),
        (np.array([b"ring", b"none"] * 3), ["ring", "none"] * 3),
    ],
)
def test_labels_are_numbers_words_or_one_hot(
    tmp_path: Path, labels: NDArray[Any], expected: list[str]
) -> None:
    assert labels_of(write(tmp_path / "d.npz", images=GREY, labels=labels)) == expected


@pytest.mark.parametrize("key", ["label_names", "classes", "list_classes"])
def test_numbers_stand_for_label_names_where_there_are_some(tmp_path: Path, key: str) -> None:
    names = {key: np.array(["none", "ring"])}
    path = write(tmp_path / "d.npz", images=GREY, labels=[1, 0, 1, 0, 0, 1], **names)

    assert labels_of(path) == ["ring", "none", "ring", "none", "none", "ring"]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("X", "y"),
        ("x", "Y"),
        ("data", "target"),
        ("train_images", "train_labels"),
        ("X_train", "y_train"),
        ("train_set_x", "train_set_y"),
    ],
)
def test_usual_pairs_of_names_are_known(tmp_path: Path, images: str, labels: str) -> None:
    path = write(tmp_path / "d.npz", **{images: GREY, labels: DIGITS})

    with open_labelled(path) as labelled:
        assert len(labelled) == 6
        assert {image.part for image in labelled} == {None}, "there is no test part to keep apart"


def test_validation_part_is_known(tmp_path: Path) -> None:
    pairs = {
        f"{part}_{of}": a
        for part in ("train", "val", "test")
        for of, a in (("images", GREY), ("labels", DIGITS))
    }

    with open_labelled(write(tmp_path / "d.npz", **pairs)) as labelled:
        assert {image.part for image in labelled} == {"training", "validation", "test"}


def test_patients_come_from_their_own_array(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.npz", images=GREY, labels=DIGITS, patients=["P1", "P1", "P2", "P2", "", "P3"]
    )
    with open_labelled(path) as labelled:
        found = {image.name.rpartition("-")[2]: image.patient for image in labelled}
    assert found == dict(
        zip([f"0000{i}" for i in range(6)], ["P1", "P1", "P2", "P2", None, "P3"], strict=True)
    )


def test_missing_number_of_a_patient_is_no_patient(tmp_path: Path) -> None:
    numbers = np.array([1.0, np.nan, 2.0, np.nan, 1.0, 2.0])
    with open_labelled(
        write(tmp_path / "d.npz", images=GREY, labels=DIGITS, patients=numbers)
    ) as labelled:
        assert {image.patient for image in labelled} == {"1.0", "2.0", None}


def test_label_names_that_name_two_labels_alike_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", images=GREY, labels=DIGITS, label_names=np.array(["a", "a"]))
    with pytest.raises(DataError, match=r"label_names in .* names a twice"):
        open_labelled(path)


def test_other_arrays_are_named_in_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", images=GREY, labels=DIGITS, weights=DIGITS, ages=DIGITS)

    with open_labelled(path) as labelled:
        assert labelled.notes == ("Ignored 2 arrays: ages, weights.",)


def test_whole_numbers_of_another_dtype_are_images_too(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "d.npz"
    save(path, images=GREY.astype(np.float32), labels=DIGITS)
    with (
        open_labelled(path) as labelled,
        open_labelled(write(tmp_path / "same.npz", images=GREY, labels=DIGITS)) as same,
    ):
        for image, other in zip(labelled, same, strict=True):
            assert image_sha256(labelled.read(image)) == image_sha256(same.read(other))


# The hash of one image


def test_hash_of_a_row_depends_on_values_and_shape_and_not_on_the_order_in_memory() -> None:
    image = np.ascontiguousarray(COLOUR[0])
    other = image.copy()
    other[0, 0, 0] ^= 1
    hashes = [image_sha256(image), image_sha256(other), image_sha256(image.reshape(11, 9, 3))]
    assert len(set(hashes)) == 3
    assert image_sha256(np.asfortranarray(image)) == hashes[0]
    assert image_sha256(image.tobytes()) not in hashes


# What is refused


def refused(path: Path) -> str:
    """The sentence that opening, or else reading the first image, ends in."""
    with pytest.raises(DataError) as caught, open_labelled(path) as labelled:
        labelled.read(next(iter(labelled)))
    return str(caught.value)


def test_unclear_arrays_are_refused_with_a_list_of_what_there_is(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "d.npz", a=GREY, b=DIGITS))
    assert "no two of its arrays are named as images and their labels" in said
    assert "a uint8 (6, 9, 11)" in said
    assert "b int64 (6,)" in said


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        (
            {"images": GREY, "labels": DIGITS, "x": GREY, "y": DIGITS},
            "images with labels or x with",
        ),
        ({"x": GREY, "y": DIGITS, "x_test": GREY, "y_test": DIGITS}, "x stands beside x_test"),
        ({"x_train": GREY, "X_TRAIN": GREY, "y_train": DIGITS}, "differ in capitals only"),
        ({"x": GREY, "y": DIGITS, "classes": DIGITS, "label_names": DIGITS}, "label_names or clas"),
        ({"x": GREY, "y": DIGITS[:5]}, "x in .* has 6 rows, and y has 5"),
        ({"x": GREY, "y": DIGITS, "patients": DIGITS[:4]}, "patients has 4"),
        ({"x": GREY, "y": DIGITS, "classes": ["a", "b"]}, "goes up to 3, but there are 2 label"),
        ({"x": GREY, "y": DIGITS - 1}, "expected a whole number from 0 on"),
        ({"x": GREY, "y": DIGITS + 0.5}, "expected a whole number from 0 on"),
        ({"x": GREY, "y": np.ones((6, 3))}, "not one-hot"),
        ({"x": GREY, "y": ["a/b", "c"] * 3}, "has the label 'a/b'"),
        ({"x": GREY, "y": ["a", ""] * 3}, "has the label ''"),
        ({"x": GREY, "y": DIGITS * 0}, r"images of 1 class only \(0\)"),
        ({"x": GREY[:, :4], "y": DIGITS}, "of 8 to 16,384 pixels a side"),
        ({"x": GREY[:0], "y": DIGITS[:0]}, "has 0 rows"),
        ({"x": np.zeros((6, 3, 9, 9), np.uint8), "y": DIGITS}, r"has the shape \(6, 3, 9, 9\)"),
        ({"x": np.zeros((6, 9, 9, 4), np.uint8), "y": DIGITS}, r"has the shape \(6, 9, 9, 4\)"),
        ({"x": GREY.astype(complex), "y": DIGITS}, "is of dtype complex128"),
        ({"x": GREY / 255, "y": DIGITS}, "not whole numbers from 0 to 255"),
        ({"x": GREY.astype(float) - 1, "y": DIGITS}, "not whole numbers from 0 to 255"),
        ({"x": GREY.astype(np.uint16) + 1000, "y": DIGITS}, "not whole numbers from 0 to 255"),
        ({"x": np.where(GREY > 99, np.nan, GREY), "y": DIGITS}, "not whole numbers from 0 to 255"),
        ({"x": (GREY > 99).astype(float), "y": DIGITS}, "holds no value above 1"),
    ],
)
def test_arrays_are_refused_with_the_reason(
    tmp_path: Path, arrays: dict[str, Any], why: str
) -> None:
    with (
        pytest.raises(DataError, match=why),
        open_labelled(write(tmp_path / "d.npz", **arrays)) as labelled,
    ):
        labelled.read(next(iter(labelled)))


class Trap:
    """Removes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.remove, (self._path,)


def test_objects_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    labels = np.array([Trap(tmp_path / "kept")] * 6, dtype=object)

    assert "is of Python objects" in refused(write(tmp_path / "d.npz", x=GREY, y=labels))
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_changed_byte_of_the_images_is_found(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in (("y", DIGITS), ("x", GREY)):
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())
        start = archive.getinfo("x.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 400] ^= 0x10
    path.write_bytes(data)

    said = refused(path)
    assert "x in " in said
    assert "Download or copy it again" in said


def npz_of(path: Path, member: bytes, *, name: str = "x.npy") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, DIGITS)
        archive.writestr("y.npy", buffer.getvalue())
        archive.writestr(name, member)
    return path


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array",
        b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9,",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00",
    ],
)
def test_member_that_is_no_array_is_refused(tmp_path: Path, member: bytes) -> None:
    assert "is not an array that np.savez writes" in refused(npz_of(tmp_path / "d.npz", member))


@pytest.mark.parametrize("shape", [(6, 9, 12), (1 << 60, 1 << 60, 9), (-6, 9, 11)])
def test_array_is_refused_when_its_header_claims_other_values_than_there_are(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    buffer.write(GREY.tobytes())

    said = refused(npz_of(tmp_path / "d.npz", buffer.getvalue()))
    assert "that its header says" in said or "is not an array" in said


def test_compressed_array_is_refused_unread_when_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=GREY, y=DIGITS)
    monkeypatch.setattr(array_images, "MAX_HELD_BYTES", 500)

    assert "Save images uncompressed with np.savez" in refused(path)


def test_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(b"no zip")

    assert "neither a folder nor a zip" in refused(path)


def test_read_is_refused_when_the_image_is_of_another_set(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", x=GREY, y=DIGITS)
    with open_labelled(path) as labelled, pytest.raises(ImageError, match="no image 3/x-00009"):
        labelled.read(LabelledImage("3/x-00009", "3", None))
