"""No patient crosses, and the parts are alike."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, UsageError
from edgecell_train.split import PARTS, Fold, Part, check_folds, leak_note, split

REPOSITORY = Path(__file__).parents[2]
SHARES = {"training": 0.7, "validation": 0.1, "test": 0.2}

# Images of each class that a patient has.
some_counts = st.tuples(*3 * [st.integers(0, 12)])
layouts = st.lists(some_counts.filter(any), min_size=1, max_size=40)


def _spread_out(
    counts: Sequence[tuple[int, ...]], singles: int = 0
) -> tuple[list[str], list[str | None]]:
    """Labels and patients of images, in no order, and images without a patient, of each class."""
    images: list[tuple[str, str | None]] = [
        ("abc"[label], f"P{patient}")
        for patient, of_label in enumerate(counts)
        for label, count in enumerate(of_label)
        for _ in range(count)
    ]
    labels = {label for label, _ in images} or {"a", "b"}
    images += [(label, None) for label in sorted(labels) for _ in range(singles)]
    order = np.random.default_rng(0).permutation(len(images))
    return [images[i][0] for i in order], [images[i][1] for i in order]


def _realistic(seed: int) -> tuple[list[str], list[str | None]]:
    """160 patients of 65 to 700 cells, a quarter of them healthy, the others mixed."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.lognormal(np.log(130), 0.5, 160), 65, 700).astype(int)
    infected = np.where(np.arange(160) % 4 == 0, 0, rng.beta(6, 3, 160))
    counts = [
        (int(n * share), n - int(n * share)) for n, share in zip(sizes, infected, strict=True)
    ]
    return _spread_out(counts)


def _parts_of_patients(
    parts: NDArray[np.str_], patients: Sequence[str | None]
) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for part, patient in zip(parts, patients, strict=True):
        if patient is not None:
            found.setdefault(patient, set()).add(str(part))
    return found


def _require_alike(
    parts: NDArray[np.str_], labels: Sequence[str], patients: Sequence[str | None]
) -> None:
    """Images, patients and classes have nearly the same shares in each part."""
    of_patients = _parts_of_patients(parts, patients)
    assert all(len(found) == 1 for found in of_patients.values())
    truth = np.asarray(labels)
    for part, share in SHARES.items():
        chosen = parts == part
        assert chosen.mean() == pytest.approx(share, abs=0.025)
        with_patients = sum(part in found for found in of_patients.values())
        assert with_patients / len(of_patients) == pytest.approx(share, abs=0.04)
        for label in set(labels):
            assert (truth[chosen] == label).mean() == pytest.approx(
                (truth == label).mean(), abs=0.03
            )


@settings(max_examples=150, deadline=None)
@given(counts=layouts, singles=st.integers(0, 12), seed=st.integers(0, 2**63))
def test_no_patient_is_in_two_parts_whatever_the_layout(
    counts: list[tuple[int, ...]], singles: int, seed: int
) -> None:
    labels, patients = _spread_out(counts, singles)
    try:
        parts = split(labels, patients, seed)
    except DataError:
        return
    assert parts.shape == (len(labels),)
    assert all(len(found) == 1 for found in _parts_of_patients(parts, patients).values())
    assert set(zip(parts, labels, strict=True)) == {(p, label) for p in PARTS for label in labels}


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=20, max_size=40), seed=st.integers(0, 2**32 - 1))
def test_split_is_found_when_every_patient_has_every_class(sizes: list[int], seed: int) -> None:
    labels, patients = _spread_out([(size, size) for size in sizes])
    assert set(split(labels, patients, seed)) == set(PARTS)


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_alike_on_a_realistic_layout(seed: int) -> None:
    labels, patients = _realistic(seed)
    _require_alike(split(labels, patients, seed), labels, patients)


def _nlms_cells() -> tuple[list[str], list[str]]:
    """Label and patient of each cell."""
    folder = Path(os.environ.get("EDGECELL_DATA") or REPOSITORY.parent / "shared" / "data")
    table = folder / "nlm-cells-patients.csv"
    if not table.is_file():
        pytest.skip(f"NLM's cells are not in {folder}; set EDGECELL_DATA to where they are")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["label"] for row in rows], [row["patient"] for row in rows]


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_alike_on_nlms_cells(seed: int) -> None:
    labels, patients = _nlms_cells()
    _require_alike(split(labels, patients, seed), labels, patients)


@pytest.mark.parametrize("number", range(1, 6))
def test_folds_of_nlms_cells_are_those_that_were_published(number: int) -> None:
    labels, patients = _nlms_cells()
    parts = split(labels, patients, 0, fold=Fold(number, 5))
    tested = {patient for part, patient in zip(parts, patients, strict=True) if part == "test"}
    with (REPOSITORY / "benchmarks" / "folds.csv").open(encoding="utf-8", newline="") as file:
        assert tested == {
            row["patient"] for row in csv.DictReader(file) if row["fold"] == str(number)
        }


def test_images_without_a_patient_are_split_one_by_one_with_even_classes() -> None:
    labels, patients = ["a"] * 200 + ["b"] * 50, [None] * 250
    parts = split(labels, patients, 5)
    for part, share in SHARES.items():
        assert np.count_nonzero(parts[:200] == part) == 200 * share
        assert np.count_nonzero(parts[200:] == part) == 50 * share


def test_images_without_a_patient_do_not_keep_the_others_from_staying_together() -> None:
    labels, patients = _spread_out([(6, 6)] * 15, singles=60)
    parts = split(labels, patients, 0)
    assert all(len(found) == 1 for found in _parts_of_patients(parts, patients).values())
    lone = parts[[patient is None for patient in patients]]
    assert set(lone) == set(PARTS), "they are no patient of their own"


def test_same_seed_gives_the_same_split() -> None:
    labels, patients = _realistic(0)
    np.testing.assert_array_equal(split(labels, patients, 9), split(labels, patients, 9))


@pytest.mark.parametrize("sizes", [[10] * 30, [20 + 7 * i for i in range(30)]])
def test_other_seed_tests_other_patients_however_their_sizes_differ(sizes: list[int]) -> None:
    counts = [(size // 2 + i, size - size // 2) for i, size in enumerate(sizes)]
    labels, patients = _spread_out(counts)
    tested = set()
    for seed in range(5):
        parts = split(labels, patients, seed)
        chosen = zip(parts, patients, strict=True)
        tested.add(frozenset(patient for part, patient in chosen if part == "test"))
    assert len(tested) >= 4


def test_too_few_images_of_a_class_are_refused_with_their_number() -> None:
    with pytest.raises(DataError, match=r"There are 9 readable images of b, .*; at least 10"):
        split(["a"] * 100 + ["b"] * 9, [None] * 109, 0)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_too_few_patients_are_refused_with_their_number(count: int) -> None:
    labels, patients = _spread_out([(20, 20)] * count)
    with pytest.raises(DataError, match=f"come from {count} patients?; at least 10"):
        split(labels, patients, 0)


def test_class_of_two_patients_is_refused_because_there_are_three_parts() -> None:
    labels, patients = _spread_out([(20, 0)] * 18 + [(0, 20)] * 2)
    with pytest.raises(DataError, match=r"come from 20 patients, too few .* of every class"):
        split(labels, patients, 0)


# Parts that a set brings along


def test_images_marked_test_are_the_test_part_and_validation_is_taken_from_the_others() -> None:
    labels, patients = ["a", "b"] * 100, [None] * 200
    given: list[Part | None] = [*["training"] * 160, *["test"] * 40]
    parts = split(labels, patients, 3, given)
    assert (parts[160:] == "test").all()
    assert np.count_nonzero(parts[:160] == "validation") == 20
    assert np.count_nonzero(parts[:160] == "training") == 140
    assert (parts == split(labels, patients, 3, given)).all()
    assert not (parts == split(labels, patients, 4, given)).all()


def test_images_marked_validation_are_the_validation_part() -> None:
    labels, patients = ["a", "b"] * 50, [None] * 100
    parts = split(labels, patients, 0, [None] * 80 + ["validation"] * 20)
    assert (parts[80:] == "validation").all()
    assert set(parts[:80]) == {"training", "test"}
    parts = split(labels, patients, 0, ["training"] * 60 + ["validation"] * 20 + ["test"] * 20)
    assert parts.tolist() == ["training"] * 60 + ["validation"] * 20 + ["test"] * 20


def test_no_mark_at_all_splits_as_without_marks() -> None:
    labels, patients = _realistic(1)
    np.testing.assert_array_equal(
        split(labels, patients, 5, [None] * len(labels)), split(labels, patients, 5)
    )


def test_patients_stay_together_beside_a_test_part() -> None:
    labels, patients = _spread_out([(6, 6)] * 24)
    given = ["test" if patient in ("P0", "P1", "P2") else None for patient in patients]
    parts = split(labels, patients, 0, given)
    found = _parts_of_patients(parts, patients)
    assert all(len(of_patient) == 1 for of_patient in found.values())
    assert {p for p, of_patient in found.items() if of_patient == {"test"}} == {"P0", "P1", "P2"}


def test_patient_in_two_of_the_given_parts_is_refused() -> None:
    labels, patients = _spread_out([(6, 6)] * 24)
    given: list[Part | None] = [None] * len(labels)
    given[patients.index("P7")] = "test"
    with pytest.raises(DataError, match=r"patient P7 is both in t.* and in t"):
        split(labels, patients, 0, given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["test"] * 100, "training has no readable image of a"),
        (["test", None] * 50, "test has no readable image of b"),
        ([None] * 90 + ["test"] * 5 + ["validation"] * 5, None),
        (
            [None] * 8 + ["test"] * 92,
            "There are 4 readable images of a, .*; at least 8 .* validate",
        ),
    ],
)
def test_given_parts_are_refused_where_one_lacks_a_class(
    given: list[Part | None], why: str | None
) -> None:
    labels = ["a", "b"] * 50
    if why is None:
        assert set(split(labels, [None] * 100, 0, given)) == set(PARTS)
        return
    with pytest.raises(DataError, match=why):
        split(labels, [None] * 100, 0, given)


# Folds


@settings(max_examples=60, deadline=None)
@given(
    counts=layouts,
    singles=st.integers(0, 12),
    seed=st.integers(0, 2**63),
    folds=st.integers(2, 6),
)
def test_patient_is_tested_in_exactly_one_fold_and_crosses_none_whatever_the_layout(
    counts: list[tuple[int, ...]], singles: int, seed: int, folds: int
) -> None:
    labels, patients = _spread_out(counts, singles)
    try:
        check_folds(labels, patients, seed, (), "patient", folds)
    except DataError:
        return
    tested = np.zeros(len(labels), int)
    for number in range(1, folds + 1):
        parts = split(labels, patients, seed, fold=Fold(number, folds))
        assert all(len(found) == 1 for found in _parts_of_patients(parts, patients).values())
        present = set(zip(parts.tolist(), labels, strict=True))
        assert present == {(part, label) for part in PARTS for label in labels}
        tested += parts == "test"
    assert (tested == 1).all()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=30, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    folds=st.integers(2, 5),
)
def test_folds_are_found_when_every_patient_has_every_class(
    sizes: list[int], seed: int, folds: int
) -> None:
    labels, patients = _spread_out([(size, size) for size in sizes])
    check_folds(labels, patients, seed, (), "patient", folds)


def test_folds_are_alike_on_a_realistic_layout() -> None:
    labels, patients = _realistic(0)
    truth = np.asarray(labels)
    for number in range(1, 6):
        parts = split(labels, patients, 3, fold=Fold(number, 5))
        for part, share in SHARES.items():
            assert (parts == part).mean() == pytest.approx(share, abs=0.03)
            assert (truth[parts == part] == "a").mean() == pytest.approx(
                (truth == "a").mean(), abs=0.03
            )


@pytest.mark.parametrize(
    ("counts", "folds", "why"),
    [
        ([(5, 0)] * 30 + [(0, 5)] * 4, 5, "There are 4 patients or lone images of b for 5 folds"),
        ([(5, 5)] * 8, 2, r"Beside fold 1 of 2, too little is left.* come from 4 patients"),
        ([(5, 0)] * 30 + [(0, 5)] * 2, 2, "Beside fold 1 of 2, too little is left"),
    ],
)
def test_folds_of_too_few_patients_are_refused(
    counts: list[tuple[int, ...]], folds: int, why: str
) -> None:
    labels, patients = _spread_out(counts)
    with pytest.raises(DataError, match=why):
        check_folds(labels, patients, 0, (), "patient", folds)


@pytest.mark.parametrize(("number", "of"), [(0, 5), (6, 5), (1, 1), (-1, 3)])
def test_fold_that_is_none_is_refused(number: int, of: int) -> None:
    with pytest.raises(UsageError, match=f"no fold {number} of {of}"):
        Fold(number, of)


def test_folds_of_a_set_with_its_own_parts_are_refused() -> None:
    given_parts: list[Part | None] = [None] * 90 + ["test"] * 10
    with pytest.raises(UsageError, match="brings its own test part along"):
        split(["a", "b"] * 50, [None] * 100, 0, given_parts, fold=Fold(1, 2))


# By image


def test_split_by_image_deals_images_with_even_classes_whoever_they_are_of() -> None:
    labels, patients = _spread_out([(30, 10)] * 10)
    parts = split(labels, patients, 4, rule="image")
    truth = np.asarray(labels)
    for part, share in SHARES.items():
        assert np.count_nonzero((parts == part) & (truth == "a")) == 300 * share
        assert np.count_nonzero((parts == part) & (truth == "b")) == 100 * share
    crossing = [p for p, found in _parts_of_patients(parts, patients).items() if len(found) > 1]
    assert len(crossing) == 10
    assert "10 of 10 patients have some in more than one part" in leak_note(patients, parts)


def test_split_by_image_needs_no_ten_patients() -> None:
    labels, patients = _spread_out([(30, 30)] * 2)
    assert set(split(labels, patients, 4, rule="image")) == set(PARTS)


def test_no_leak_is_noted_where_no_patient_crosses() -> None:
    labels, patients = _spread_out([(6, 6)] * 24, singles=3)
    assert leak_note(patients, split(labels, patients, 0)) == ""
    assert leak_note([None] * len(labels), split(labels, patients, 0, rule="image")) == ""
