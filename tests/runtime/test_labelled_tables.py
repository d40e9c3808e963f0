"""Patients and disputed labels from a CSV."""

from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime.errors import DataError
from edgecell_runtime.image_tables import disputed_names, match_names, read_patient_table
from edgecell_runtime.labelled import open_labelled

NAMES = ("a/1.png", "a/2.png", "b/1.png", "b/C100P61ThinF_IMG_1_cell_1.png")


def cells(tmp_path: Path) -> Path:
    for name in NAMES:
        file = tmp_path / "cells" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"never read")
    return tmp_path / "cells"


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text(text, encoding="utf-8")
    return path


def patients_with(tmp_path: Path, text: str) -> list[str | None]:
    with open_labelled(cells(tmp_path), patients=table(tmp_path, text)) as labelled:
        return [image.patient for image in labelled]


ROWS = "a/1.png,P1\na/2.png,P2\nb/1.png,P1\n"


@pytest.mark.parametrize(
    "text",
    [
        f"path,patient\n{ROWS}",
        f"\ufeffPath, Patient \n{ROWS}",
        "label,patient_id,file\na,P1,a/1.png\na,P2,a/2.png\nb,P1,b/1.png\n",
        "image;subject\na/1.png;P1\na/2.png;P2\nb/1.png;P1\n",
        "name\tpatient\na/1.png\tP1\na/2.png\tP2\nb/1.png\tP1\n",
        "path,patient\ncells/a/1.png,P1\n./a/2.png,P2\nb\\1.png,P1\n",
        'path,patient\n"a/1.png","P1"\n2.png,P2\n\nb/1.png,P1\nelsewhere/9.png,P9\n',
    ],
)
def test_patients_come_from_the_columns_named_so(tmp_path: Path, text: str) -> None:
    assert patients_with(tmp_path, text) == ["P1", "P2", "P1", "P61"]


def test_patient_is_unknown_where_its_cell_is_empty(tmp_path: Path) -> None:
    text = "path,patient\na/1.png,\na/2.png,P2\nb/1.png, \n"
    assert patients_with(tmp_path, text) == [None, "P2", None, "P61"]


def test_patients_of_rows_of_an_array_come_from_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 9, 9), np.uint8), y=[0, 1])
    csv = table(tmp_path, "path,patient\n0/x-00000,P1\nx-00001,P2\n")

    with open_labelled(tmp_path / "d.npz", patients=csv) as labelled:
        assert [image.patient for image in labelled] == ["P1", "P2"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("path,patient\n", "has no rows"),
        (f"picture,patient\n{ROWS}", "has no column named path or file .* it has picture, patient"),
        (f"path,whose\n{ROWS}", "has no column named patient or patient_id"),
        ("path,file,patient\na/1.png,a/1.png,P1\n", "2 columns named path or file"),
        (f"path,path\n{ROWS}", "names a column twice"),
        (f"path,patient\n{ROWS}a/1.png,P9,x\n", "line 5: expected 2 fields .* found 3"),
        ('path,patient\n"a/1.png,P1\n', "line 2: .* expected a CSV"),
        (f"path,patient\n{ROWS},P1\n", "line 5: the column path is empty"),
        (f"path,patient\n{ROWS}a/1.png,P9\n", "line 5: a/1.png .* P9, but an earlier row says P1"),
        ("path,patient\na/1.png,P1\nb/1.png,P1\n", "does not name 1 of 4 images, such as a/2.png"),
        (f"path,patient\n{ROWS}cells/a/1.png,P1\n", "names a/1.png twice"),
        ("path,patient\n1.png,P1\n", "names 1.png, which fits 2 images, such as a/1.png and b/1.p"),
        ("path,patient\nc/9.png,P1\n", "names 1 image, such as c/9.png, and none of them is in"),
        (
            f"path,patient\n{ROWS}C100P61ThinF_IMG_1_cell_1.png,P7\n",
            "comes from patient P7, but its name or its mapping file says P61",
        ),
    ],
)
def test_table_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        patients_with(tmp_path, text)


def test_table_is_refused_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        read_patient_table(tmp_path / "nowhere.csv")


# Disputed labels


@pytest.mark.parametrize(
    "text",
    [
        "path,disputed_label\na/1.png,1\na/2.png,0\nb/1.png,1\n",
        "path,patient,disputed\na/1.png,P1,yes\na/2.png,P2,no\nb/1.png,P1,TRUE\n",
        "a/1.png\nb/1.png\n",
        "path\na/1.png\n\nb/1.png\n",
    ],
)
def test_disputed_images_are_those_marked_or_listed(tmp_path: Path, text: str) -> None:
    assert disputed_names(table(tmp_path, text)) == {"a/1.png", "b/1.png"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,disputed_label\na/1.png,2\n", "line 2: expected 1 or 0 .* found '2'"),
        ("path,disputed_label\na/1.png,\n", "line 2: expected 1 or 0"),
        ("path,patient\na/1.png,P1\n", "has no column named disputed_label or disputed"),
        ("disputed_label\n1\n", "has no column named path"),
    ],
)
def test_table_of_disputed_labels_is_refused_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        disputed_names(table(tmp_path, text))


def test_names_that_fit_no_image_are_left_out() -> None:
    assert match_names(["x/1.png", "2.png"], ["a/1.png", "a/2.png"], "t") == {"2.png": "a/2.png"}


def test_exact_name_comes_before_the_end_of_another() -> None:
    assert match_names(["a/1.png"], ["a/1.png", "b/a/1.png"], "t") == {"a/1.png": "a/1.png"}
