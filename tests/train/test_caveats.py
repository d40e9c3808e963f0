"""What is said before figures are believed: chance, images without a patient, own test parts."""

import dataclasses

import numpy as np
import pytest

from edgecell_export.source import KnownImage
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train import statistics
from edgecell_train.caveats import (
    chance_note,
    dealing_notes,
    has_own_test_part,
    lone_images_note,
)
from edgecell_train.run_record import DataRecord
from edgecell_train.runs import SplitRow

LABELS = ("Parasitized", "Uninfected")
PATIENTS = [f"P{i // 10}" for i in range(200)]
DATA = DataRecord("cells.zip", "d" * 64, 200, 20, 0)


def _tested(skill: float, positive: str | None = LABELS[0]) -> statistics.Tested:
    """Answers that are better than chance by so much."""
    random = np.random.default_rng(0)
    truth = np.arange(200) % 2
    score = np.clip(random.normal(0.5 + np.where(truth == 0, skill, -skill), 0.2), 0, 1)
    return statistics.Tested(
        truth, np.stack([score, 1 - score], 1), PATIENTS, LABELS, positive, 0.5
    )


def _note(tested: statistics.Tested) -> str:
    return chance_note(statistics.evaluate_tested(tested, resamples=200), tested)


@pytest.mark.parametrize("positive", [LABELS[0], None])
def test_net_at_chance_is_said_to_have_learned_nothing(positive: str | None) -> None:
    note = _note(_tested(0, positive))
    assert "has not learned to tell the labels apart" in note
    assert ("AUC" in note) == (positive is not None)
    assert _note(_tested(0.3, positive)) == ""


def test_net_worse_than_chance_is_said_to_be_so() -> None:
    assert "is below 0.5, which guessing reaches" in _note(_tested(-0.3))


def test_chance_without_a_positive_label_is_the_share_of_the_commonest_label() -> None:
    tested = dataclasses.replace(_tested(0.3, None), truth=np.arange(200) % 10 // 9)
    accuracy = Figure(0.91, 0.85, 0.95)
    note = chance_note(Evaluation(200, 20, accuracy), tested)
    assert "0.850 to 0.950, includes 0.900, which always answering Parasitized reaches" in note
    assert chance_note(Evaluation(200, 20, Figure(0.95, 0.91, 0.98)), tested) == ""


@pytest.mark.parametrize("auc", [None, Figure(0.9, 0.0, 1.0)])
def test_nothing_is_said_of_chance_where_the_test_says_nothing(auc: Figure | None) -> None:
    accuracy = Figure(0.5, 0.0, 1.0)
    assert chance_note(Evaluation(200, 20, accuracy, auc=auc), _tested(0)) == ""
    assert chance_note(Evaluation(200, 20, accuracy), _tested(0, None)) == ""


def _rows(*names: str) -> list[SplitRow]:
    """Images whose part is the first word of their name."""
    pairs = (name.split(" ") for name in names)
    return [SplitRow(KnownImage(name, "a" * 64, "7", None), part) for part, name in pairs]


@pytest.mark.parametrize(
    ("names", "own"),
    [
        (("training 7/x_train-00001", "validation 7/x_train-00002", "test 7/x_test-00001"), True),
        (("training 7/x_train-00001", "test 7/x_train-00002", "test 7/x_test-00001"), False),
        (("training 7/images-00001", "test 7/images-00002"), False),
        (("training cat/train/1.png", "test cat/test/1.png"), True),
        (("training cat/test/1.png", "test cat/test/2.png"), False),
        (("training cat/1.png", "test cat/2.png"), False),
        (("training cat/a-00001.png", "test cat/b-00002.png"), False),
    ],
)
def test_own_test_part_is_known_by_the_images_names(names: tuple[str, ...], own: bool) -> None:
    assert has_own_test_part(_rows(*names)) is own


def test_images_without_a_patient_are_worded_by_what_the_set_has() -> None:
    none, some, one = (
        dataclasses.replace(DATA, patients=patients, without_patient=lone)
        for patients, lone in ((0, 200), (20, 3), (20, 1))
    )
    assert lone_images_note(DATA, own_test_part=False) == ""
    assert "split one by one" in lone_images_note(none, own_test_part=False)
    assert "3 images of 200 without a patient" in lone_images_note(some, own_test_part=False)
    assert "1 image of 200 without a patient" in lone_images_note(one, own_test_part=False)
    own = lone_images_note(none, own_test_part=True)
    assert "The test part is the set's own" in own
    assert "one by one" not in own


def test_dealing_by_image_is_said_to_be_too_good() -> None:
    assert dealing_notes(DATA, "patient") == ()
    (note,) = dealing_notes(DATA, "image")
    assert "too good" in note
    lone = dataclasses.replace(DATA, without_patient=1, drawn=True)
    first, second = dealing_notes(lone, "patient")
    assert first.startswith("1 image of 200 without a patient")
    assert "drawn cells" in second
