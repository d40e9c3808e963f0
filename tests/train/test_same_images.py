"""Copies of an image stay together, whoever they are of, and nothing else changes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_training import CONFIG, TINY, Watcher, train_tiny

from edgecell_runtime.errors import DataError
from edgecell_runtime.labelled import open_labelled
from edgecell_train.same_images import alike_patients_note, copies_note, kept_together
from edgecell_train.split import PARTS, Fold, Part, split
from edgecell_train.training import Job, train

NOTHING: list[Part | None] = [None] * 400


def _images(copied: Sequence[tuple[int, int]], count: int = 400) -> list[str]:
    """The hash of each image; the second of a pair is a copy of the first."""
    found = [f"{i:064}" for i in range(count)]
    for one, other in copied:
        found[other] = found[one]
    return found


def _crossing(sha256: Sequence[str], parts: Sequence[str]) -> int:
    found: dict[str, set[str]] = {}
    for digest, part in zip(sha256, parts, strict=True):
        found.setdefault(digest, set()).add(part)
    return sum(len(of_image) > 1 for of_image in found.values())


def test_patients_are_as_they_were_where_no_image_is_a_copy() -> None:
    patients = ["P2", None, "P1", "P2", None]
    assert kept_together(patients, _images([], 5), [None] * 5) == patients


def test_patients_that_share_an_image_become_one_group() -> None:
    patients = ["P1", "P2", "P3", "P2", "P4", "P5", "P4"]
    found = kept_together(patients, _images([(0, 1), (3, 4)], 7), [None] * 7)
    assert found == ["P1", "P1", "P3", "P1", "P1", "P5", "P1"]


def test_copies_without_a_patient_become_a_group_or_part_of_the_patients() -> None:
    patients = [None, None, None, "P1", "P1"]
    found = kept_together(patients, _images([(0, 1), (3, 2)], 5), [None] * 5)
    assert found[0] == found[1]
    assert found[0] not in (None, "P1")
    assert found[2:] == ["P1", "P1", "P1"]


def test_images_of_a_part_that_the_set_brings_along_stay_as_they_are() -> None:
    given_parts: list[Part | None] = ["training", "test", None, "test"]
    patients = [None, None, "P1", "P2"]
    found = kept_together(patients, _images([(0, 1), (2, 3)], 4), given_parts)
    assert found == patients
    with pytest.raises(DataError, match="patient P1 is both in"):
        kept_together(["P1", "P1", None, None], _images([], 4), given_parts)


copies = st.lists(st.tuples(st.integers(0, 399), st.integers(0, 399)), max_size=30)


@settings(max_examples=25, deadline=None)
@given(copied=copies, known=st.sampled_from([0, 40, 400]), fold=st.booleans())
def test_no_copy_and_no_patient_crosses_whatever_is_copied(
    copied: list[tuple[int, int]], known: int, fold: bool
) -> None:
    sha256 = _images(copied)
    labels = ["ab"[i % 2] for i in range(400)]
    patients = [f"P{i // 2 % 40}" if i < known else None for i in range(400)]
    groups = kept_together(patients, sha256, NOTHING)
    try:
        parts = split(labels, groups, 3, fold=Fold(1, 3) if fold else None)
    except DataError:  # so many are joined that too few are left
        return
    assert _crossing(sha256, parts.tolist()) == 0
    assert set(zip(parts.tolist(), labels, strict=True)) == {(p, x) for p in PARTS for x in "ab"}
    of_patient: dict[str, set[str]] = {}
    for patient, part in zip(patients, parts.tolist(), strict=True):
        if patient is not None:
            of_patient.setdefault(patient, set()).add(part)
    assert all(len(found) == 1 for found in of_patient.values())


def test_lone_copies_leave_the_shares_even() -> None:
    sha256 = _images([(0, 1), (0, 2), (7, 30)])
    groups = kept_together([None] * 400, sha256, NOTHING)
    parts = split(["a"] * 400, groups, 0)
    assert np.count_nonzero(parts == "test") == pytest.approx(80, abs=3)
    assert np.count_nonzero(parts == "validation") == pytest.approx(40, abs=3)


def test_too_few_different_images_are_refused() -> None:
    groups = kept_together([None] * 60, ["0" * 64] * 30 + _images([], 30), [None] * 60)
    with pytest.raises(
        DataError, match="There is 1 readable image of a, copies not counted; at least 10"
    ):
        split(["a"] * 30 + ["b"] * 30, groups, 0)


LABELS = ["a"] * 6


def test_note_calls_copies_under_two_labels_a_contradiction() -> None:
    said = copies_note(_images([(0, 1)], 2), ["a", "b"], [None, None], ["training"] * 2)
    assert "1 image under two labels, which contradict each other" in said


def test_note_counts_copies_and_says_what_became_of_them() -> None:
    sha256, parts = _images([(0, 1), (0, 2), (3, 4)], 6), ["training"] * 6
    patients = ["P1", "P1", "P2", None, None, None]
    said = copies_note(sha256, LABELS, patients, parts)
    assert said.startswith("3 images are byte for byte the same as another one, and stayed")
    assert said.endswith("; 1 image of several patients, who were dealt as one.")
    said = copies_note(sha256, LABELS, patients, [*parts[:4], "test", "test"])
    assert "across the parts that the set brings along: the figures may be too good" in said
    said = copies_note(_images([(0, 1)], 2), LABELS[:2], [None] * 2, parts[:2])
    assert said.startswith("1 image is byte")
    assert copies_note(_images([], 6), LABELS, patients, parts) == ""


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (["p1", "P1", "P2"], "'P1' and 'p1'."),
        (["P1 ", "P1", None], "'P1' and 'P1 '."),
        ([*"abcdefABCDEF"], "'A' and 'a'; 'B' and 'b'; 'C' and 'c' and 3 more."),
        (["P1", "P10", "P1", None], None),
    ],
)
def test_patients_that_differ_in_case_or_spaces_alone_are_warned_of(
    patients: list[str | None], said: str | None
) -> None:
    note = alike_patients_note(patients)
    assert said in note if said else note == ""


def test_run_keeps_copies_in_one_part_and_says_so(cells: Path, tmp_path: Path) -> None:
    data = tmp_path / "cell_images"
    shutil.copytree(cells, data)
    names = sorted(path.name for path in (data / "Uninfected").glob("C*.png"))
    for number, name in enumerate(names[:8]):  # of one patient; the copies are of eight others
        shutil.copy(
            data / "Uninfected" / name, data / "Uninfected" / f"C9P90{number}ThinF_IMG_x.png"
        )
    shutil.copy(data / "Uninfected" / "lone.png", data / "Uninfected" / "lone-too.png")
    run = train_tiny(data, tmp_path / "runs").run
    rows = run.split()
    assert _crossing([row.image.sha256 for row in rows], [row.part for row in rows]) == 0
    (note,) = (note for note in run.record.training_notes if "byte for byte" in note)
    assert note.startswith("9 images are byte for byte the same as another one, and stayed")
    assert "8 images of several patients" in note


def test_run_records_the_warning_of_patients_that_differ_in_case_alone(
    cells: Path, tmp_path: Path
) -> None:
    data = tmp_path / "cell_images"
    shutil.copytree(cells, data)
    with_patient = next(iter(sorted((data / "Uninfected").glob("C*P*ThinF*.png"))))
    with open_labelled(data) as images:
        patients = {image.name: image.patient for image in images}
    patient = patients[f"Uninfected/{with_patient.name}"]
    assert patient is not None
    table = tmp_path / "patients.csv"
    table.write_text(f"path,patient\nUninfected/lone.png,{patient.lower()}\n")
    with open_labelled(data, patients=table) as images:
        run = train(images, Job(TINY, CONFIG), tmp_path / "runs", Watcher()).run
    assert any(f"{patient!r} and {patient.lower()!r}" in note for note in run.record.data.notes)
