"""The history of a training: read back, and what the averages did to the kept epoch."""

from dataclasses import astuple, fields
from pathlib import Path

import pytest

from edgecell_runtime.errors import RunError
from edgecell_train.history import EpochRecord, averages_note, read_history
from edgecell_train.runs import csv_text

COLUMNS = [field.name for field in fields(EpochRecord)]
WITH = EpochRecord(1, 0.7, 0.5, 0.6, 0.8, 0.9, 0.55)
WITHOUT = EpochRecord(2, 0.6, 0.6, 0.1 + 0.2, 0.85)


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(csv_text(COLUMNS, [astuple(WITH), astuple(WITHOUT)]))
    assert read_history(path) == (WITH, WITHOUT)


def test_history_of_an_earlier_version_has_no_columns_before_the_averages(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(csv_text(COLUMNS[:5], [astuple(WITHOUT)[:5]]))
    assert read_history(path) == (WITHOUT,)


def test_missing_history_is_empty(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.csv") == ()


@pytest.mark.parametrize(
    "text", ["epoch,loss\n1,0.5\n", "epoch,loss\n1\n", "\xff", "epoch\nfirst\n"]
)
def test_damaged_history_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(text.encode("latin-1") + b"\n\n1,2\n")
    with pytest.raises(RunError, match=r"history\.csv cannot be read as a history"):
        read_history(path)


def test_averages_that_helped_are_said_to_have_changed_the_validation() -> None:
    note = averages_note(WITH)
    assert "In the kept epoch, 1, that changed the validation loss from 0.900 to 0.600" in note
    assert "the accuracy from 55.00% to 80.00%" in note
    assert "worse" not in note
    assert averages_note(WITHOUT) == ""


@pytest.mark.parametrize(
    ("loss", "accuracy", "words"),
    [
        (0.5, 0.55, "made the loss worse;"),
        (0.9, 0.85, "made the accuracy worse;"),
        (0.5, 0.85, "made the loss and the accuracy worse;"),
    ],
)
def test_averages_that_made_it_worse_are_said_to_have_done_so(
    loss: float, accuracy: float, words: str
) -> None:
    note = averages_note(EpochRecord(1, 0.7, 0.5, 0.6, 0.8, loss, accuracy))
    assert words in note
    assert "reestimate_averages=false" in note
