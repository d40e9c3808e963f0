import hashlib
import os
import random
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecell_runtime.class_folders import find_class_folders
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, data_sha256, open_labelled

PARASITIZED = "Parasitized/C100P61ThinF_IMG_1_cell_1.png"
UNINFECTED = "Uninfected/C5NThinF_IMG_1_cell_1.png"
UNKNOWN = "Uninfected/plain.jpg"
SET = (PARASITIZED, UNINFECTED, UNKNOWN)
MAPPING = "patientid_cellmapping_test.csv"

Pack = Callable[[Path, Iterable[str]], Path]


def content(name: str) -> bytes:
    return f"bytes of {name.rpartition('/')[2]}".encode()


def as_folder(path: Path, names: Iterable[str]) -> Path:
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(name))
    return path


def as_zip(path: Path, names: Iterable[str]) -> Path:
    path = path.with_suffix(".zip")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name in names:
            archive.writestr(name, content(name))
    return path


@pytest.fixture(params=[as_folder, as_zip])
def pack(request: pytest.FixtureRequest) -> Pack:
    packer: Pack = request.param
    return packer


def names_of(labelled: LabelledImages) -> tuple[str, ...]:
    return tuple(image.name for image in labelled)


# What a set gives


def test_set_gives_names_labels_and_patients(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "cells", SET)

    with open_labelled(path) as labelled:
        assert tuple(labelled) == (
            LabelledImage(PARASITIZED, "Parasitized", "P61"),
            LabelledImage(UNINFECTED, "Uninfected", "C5"),
            LabelledImage(UNKNOWN, "Uninfected", None),
        )
        assert len(labelled) == 3
        assert labelled.labels == ("Parasitized", "Uninfected")
        assert labelled.location == path
        assert labelled.notes == ()


def test_set_reads_the_original_bytes(tmp_path: Path, pack: Pack) -> None:
    with open_labelled(pack(tmp_path / "cells", [f"cell_images/{name}" for name in SET])) as cells:
        assert [cells.read(image) for image in cells] == [content(name) for name in SET]


def test_get_finds_an_image_by_its_name(tmp_path: Path, pack: Pack) -> None:
    with open_labelled(pack(tmp_path / "cells", SET)) as labelled:
        assert labelled.get(UNKNOWN) == LabelledImage(UNKNOWN, "Uninfected", None)
        assert labelled.get("Uninfected/other.png") is None


def test_read_is_refused_when_the_image_is_of_another_set(tmp_path: Path, pack: Pack) -> None:
    with (
        open_labelled(pack(tmp_path / "cells", SET)) as labelled,
        pytest.raises(ImageError, match=r"no image a/b\.png in .*cells"),
    ):
        labelled.read(LabelledImage("a/b.png", "a", None))


@pytest.mark.parametrize("around", ["cell_images/", "cell_images/cell_images/", "a/b/c/"])
def test_folders_around_the_classes_are_stripped(tmp_path: Path, pack: Pack, around: str) -> None:
    path = pack(tmp_path / "cells", [f"{around}{name}" for name in SET] + ["README.txt"])

    with open_labelled(path) as labelled:
        assert names_of(labelled) == SET


@pytest.mark.parametrize("around", ["", "cell_images/"])
@pytest.mark.parametrize("copy", ["cell_images/", "cell_images/cell_images/", "copy/"])
def test_second_copy_is_ignored_with_a_note_when_the_download_is_doubled(
    tmp_path: Path, pack: Pack, around: str, copy: str
) -> None:
    inner = [f"{around}{copy}{name}" for name in SET]
    path = pack(tmp_path / "cells", [f"{around}{name}" for name in SET] + inner)

    with open_labelled(path) as labelled:
        assert names_of(labelled) == SET
        assert [labelled.read(image) for image in labelled] == [content(name) for name in SET]
        assert labelled.notes == (
            f"Ignored 3 images in {copy.partition('/')[0]}/, which repeats the class folders that "
            "it lies beside.",
        )


@pytest.mark.parametrize("around", ["", "cell_images/"])
@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "Test"), ("training_set", "testing")]
)
def test_folders_of_a_split_are_parts_and_not_classes(
    tmp_path: Path, pack: Pack, around: str, train: str, test: str
) -> None:
    names = [f"{around}{train}/{PARASITIZED}", f"{around}{train}/{UNKNOWN}"]
    names += [f"{around}{test}/{PARASITIZED}", f"{around}{test}/{UNINFECTED}"]

    with open_labelled(pack(tmp_path / "cells", names)) as labelled:
        assert labelled.labels == ("Parasitized", "Uninfected")
        assert {(image.name, image.patient, image.part) for image in labelled} == {
            (PARASITIZED.replace("/", f"/{train}/"), "P61", "training"),
            (UNKNOWN.replace("/", f"/{train}/"), None, "training"),
            (PARASITIZED.replace("/", f"/{test}/"), "P61", "test"),
            (UNINFECTED.replace("/", f"/{test}/"), "C5", "test"),
        }
        assert sorted(map(labelled.read, labelled), key=bytes) == sorted(map(content, names))
        (note,) = labelled.notes
        assert note.startswith("The set brings its own split along: ")
        assert f"{train}/ for training" in note


def test_set_is_refused_when_another_folder_stands_beside_its_parts(
    tmp_path: Path, pack: Pack
) -> None:
    names = [f"train/{PARASITIZED}", f"test/{UNINFECTED}", "unlabeled/x.png"]

    with pytest.raises(DataError, match=r"test/ and train/, .* beside them unlabeled/, which is"):
        open_labelled(pack(tmp_path / "cells", names))


def test_folder_of_a_part_is_a_class_when_others_are_none(tmp_path: Path, pack: Pack) -> None:
    with open_labelled(pack(tmp_path / "cells", ["test/x.png", "blank/y.png"])) as labelled:
        assert labelled.labels == ("blank", "test")
        assert {image.part for image in labelled} == {None}


def test_set_is_refused_when_images_of_a_part_lie_outside_class_folders(
    tmp_path: Path, pack: Pack
) -> None:
    names = [f"train/{PARASITIZED}", f"train/{UNINFECTED}", "test/x.png"]

    with pytest.raises(DataError, match=r"1 image outside any class folder, such as test/x\.png"):
        open_labelled(pack(tmp_path / "cells", names))


def test_set_is_refused_when_the_second_copy_holds_other_images(tmp_path: Path, pack: Pack) -> None:
    inner = [f"cell_images/{name}" for name in (*SET, "Uninfected/more.png")]

    with pytest.raises(DataError, match=r"in cell_images/, where 1 image, such as Uninfected/more"):
        open_labelled(pack(tmp_path / "cells", [*SET, *inner]))


def test_images_belong_to_their_class_when_it_has_folders(tmp_path: Path, pack: Pack) -> None:
    names = ("a/slide 1/x.png", "a/slide 2/deep/x.png", "b/slide 1/y.png")

    with open_labelled(pack(tmp_path / "cells", names)) as labelled:
        assert [(image.name, image.label) for image in labelled] == [
            (name, name[0]) for name in names
        ]


def test_other_files_are_counted_in_a_note(tmp_path: Path, pack: Pack) -> None:
    others = ["Parasitized/z.txt", "Uninfected/Thumbs.csv", "notes.md"]

    with open_labelled(pack(tmp_path / "cells", [*SET, *others])) as labelled:
        assert names_of(labelled) == SET
        assert labelled.notes == (
            "Ignored 3 files that are not images by suffix, such as Parasitized/z.txt.",
        )


def test_system_files_are_passed_over_without_a_note(tmp_path: Path, pack: Pack) -> None:
    system = [
        ".hidden/a/x.png",
        "Parasitized/.hidden.png",
        "Parasitized/Thumbs.db",
        "Uninfected/.DS_Store",
        "__MACOSX/Parasitized/._C1.png",
        "__MACOSX/Parasitized/C1.png",
    ]

    with open_labelled(pack(tmp_path / "cells", [*SET, *system])) as labelled:
        assert names_of(labelled) == SET
        assert labelled.notes == ()


def test_images_are_taken_when_the_suffix_is_in_capitals(tmp_path: Path, pack: Pack) -> None:
    with open_labelled(pack(tmp_path / "cells", ["a/x.PNG", "b/y.Jpg"])) as labelled:
        assert names_of(labelled) == ("a/x.PNG", "b/y.Jpg")


@given(order=st.randoms(use_true_random=False))
def test_layout_is_the_same_when_the_files_come_in_another_order(order: random.Random) -> None:
    inner = [f"cells/cell_images/{name}" for name in SET]
    names = [f"cells/{name}" for name in (*SET, MAPPING, "a.txt", "b.txt")] + inner
    expected = find_class_folders(names, "cells")
    order.shuffle(names)

    assert find_class_folders(names, "cells") == expected


def test_images_are_sorted_by_name_when_the_files_come_in_another_order(
    tmp_path: Path, pack: Pack
) -> None:
    with open_labelled(pack(tmp_path / "cells", reversed(SET))) as labelled:
        assert names_of(labelled) == SET


# Patients from mapping files


def put_mapping(folder: Path, patient: str, name: str = MAPPING) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{patient},['plain.jpg']\n", encoding="utf-8")


def patient_of_unknown(path: Path) -> str | None:
    with open_labelled(path) as labelled:
        assert labelled.notes == ()
        image = labelled.get(UNKNOWN)
        assert image is not None
        return image.patient


def test_patient_is_mapped_when_the_mapping_lies_beside_the_set(tmp_path: Path, pack: Pack) -> None:
    put_mapping(tmp_path, "C9P9ThinF")

    assert patient_of_unknown(pack(tmp_path / "cells", SET)) == "P9"


@pytest.mark.parametrize("below", ["", "cell_images"])
def test_patient_is_mapped_when_the_mapping_lies_in_the_folder(tmp_path: Path, below: str) -> None:
    path = as_folder(tmp_path / "cells", [f"cell_images/{name}" for name in SET])
    put_mapping(path / below, "C9P9ThinF")

    assert patient_of_unknown(path) == "P9"


@pytest.mark.parametrize("below", ["", "cell_images/"])
def test_patient_is_mapped_when_the_mapping_lies_in_the_zip(tmp_path: Path, below: str) -> None:
    path = as_zip(tmp_path / "cells", [f"cell_images/{name}" for name in SET])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{below}{MAPPING}", "C9P9ThinF,['plain.jpg']\n")

    assert patient_of_unknown(path) == "P9"


def test_mapping_is_ignored_with_a_note_when_it_lies_inside_a_class(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", SET)
    put_mapping(path / "Uninfected", "C9P9ThinF")

    with open_labelled(path) as labelled:
        assert [image.patient for image in labelled] == ["P61", "C5", None]
        assert labelled.notes == (
            f"Ignored 1 file that is not an image by suffix, such as Uninfected/{MAPPING}.",
        )


def test_set_is_refused_when_name_and_mapping_give_different_patients(
    tmp_path: Path, pack: Pack
) -> None:
    (tmp_path / MAPPING).write_text("C9P9ThinF,['C5NThinF_IMG_1_cell_1.png']\n", encoding="utf-8")

    with pytest.raises(DataError, match="patient C5 by its name, but from P9 by the patient map"):
        open_labelled(pack(tmp_path / "cells", SET))


def test_set_is_refused_when_two_mappings_give_different_patients(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", SET)
    put_mapping(path, "C9P9ThinF")
    put_mapping(tmp_path, "C8P8ThinF")

    with pytest.raises(DataError, match=r"plain\.jpg comes from patient P9.*says P8"):
        open_labelled(path)


def test_set_is_refused_when_its_mapping_is_malformed(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(DataError, match=rf"{MAPPING} in .*cells.*, line 1: expected"):
        open_labelled(pack(tmp_path / "cells", [*SET, MAPPING]))


# What is refused, folder or zip


def test_set_is_refused_when_the_path_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no .*nowhere; expected a folder"):
        open_labelled(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"not a zip", b"\x89PNG\r\n\x1a\n" * 30])
def test_set_is_refused_when_it_is_neither_folder_nor_zip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "cells.zip"
    path.write_bytes(data)

    with pytest.raises(DataError, match="neither a folder nor a zip"):
        open_labelled(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_set_is_refused_when_it_is_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(DataError, match="neither a folder nor a zip"):
        open_labelled(tmp_path / "pipe")


@pytest.mark.parametrize("names", [[], ["Parasitized/readme.txt"]])
def test_set_is_refused_when_it_holds_no_images(
    tmp_path: Path, pack: Pack, names: list[str]
) -> None:
    (tmp_path / "cells").mkdir()

    with pytest.raises(DataError, match="holds no images"):
        open_labelled(pack(tmp_path / "cells", names))


@pytest.mark.parametrize("names", [["x.png"], ["x.png", "y.png"], ["x.png", *SET]])
def test_set_is_refused_when_images_lie_outside_class_folders(
    tmp_path: Path, pack: Pack, names: list[str]
) -> None:
    with pytest.raises(DataError, match=r"outside any class folder, such as x\.png"):
        open_labelled(pack(tmp_path / "cells", names))


@pytest.mark.parametrize("around", ["", "cell_images/"])
def test_set_of_one_class_is_refused_unless_it_is_allowed(
    tmp_path: Path, pack: Pack, around: str
) -> None:
    path = pack(tmp_path / "cells", [f"{around}{UNINFECTED}"])

    with pytest.raises(DataError, match=r"1 class only \(Uninfected\); expected at least 2"):
        open_labelled(path)
    with open_labelled(path, minimum_labels=1) as labelled:
        assert names_of(labelled) == (UNINFECTED,)


# The hash of a set


def test_data_sha256_is_that_of_the_sorted_lines() -> None:
    first, second = "0" * 64, "f" * 64
    expected = hashlib.sha256(f"{first}  b/y.png\n{second}  a/x.png\n".encode()).hexdigest()

    assert data_sha256([(second, "a/x.png"), (first, "b/y.png")]) == expected
    assert data_sha256([(first, "b/y.png"), (second, "a/x.png")]) == expected


def test_data_sha256_is_refused_when_name_and_hash_are_swapped() -> None:
    with pytest.raises(ValueError, match="expected a SHA-256 and a name"):
        data_sha256([("a/x.png", "0" * 64)])
