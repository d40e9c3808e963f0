"""What an unfinished training keeps: whole, held by one process, and refused when damaged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.tiny_training import CONFIG

from edgecell_runtime.errors import RunError
from edgecell_train.checkpoints import (
    RECORD,
    STATE,
    TrainingState,
    Unfinished,
    UnfinishedRecord,
    begin,
    find_unfinished,
)
from edgecell_train.history import EpochRecord, best_epoch, has_stalled, plateaus

WHAT = UnfinishedRecord("tiny", CONFIG, "0" * 64, ("a", "b"))
HISTORY = (
    EpochRecord(1, 0.7, 0.5, 0.6999999999999999, 0.5, 1.5, 0.4),
    EpochRecord(2, 0.6, 0.75, 0.65, 1 / 3),
)


def _state() -> TrainingState:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(12)]
    return TrainingState(HISTORY, weights, weights[:1], [np.int64(7) * np.ones((), np.int64)])


def _losses(*losses: float) -> list[EpochRecord]:
    return [EpochRecord(i + 1, 0.0, 0.0, loss, 0.0) for i, loss in enumerate(losses)]


def test_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    assert unfinished.load() is None
    assert not unfinished.has_state
    state = _state()
    unfinished.save(state)
    found = unfinished.load()
    assert found is not None
    assert found.history == state.history
    for group in ("weights", "kept", "optimizer"):
        for one, other in zip(getattr(found, group), getattr(state, group), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_next_state_is_due_when_the_time_has_passed(tmp_path: Path) -> None:
    begin(tmp_path, WHAT).release()
    now = [100.0]
    folder = next(tmp_path.iterdir())
    unfinished = Unfinished(folder, WHAT, every_s=20, clock=lambda: now[0])
    assert unfinished.is_due(), "nothing was written yet"
    unfinished.save(_state())
    now[0] = 119.0
    assert not unfinished.is_due()
    now[0] = 120.0
    assert unfinished.is_due()


def test_unfinished_training_is_found_by_its_folder_its_name_and_as_the_latest(
    tmp_path: Path,
) -> None:
    first, second = begin(tmp_path, WHAT), begin(tmp_path, dataclasses.replace(WHAT, name="z"))
    (tmp_path / ".unfinished-99999999-000000-half-made").mkdir()
    for one in (first, second):
        one.release()
        for wanted in (str(one.folder), one.folder.name):
            found = find_unfinished(wanted, tmp_path)
            assert (found.folder, found.record) == (one.folder, one.record)
            found.release()
    assert find_unfinished("latest", tmp_path).folder == second.folder


def test_folders_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    assert len({begin(tmp_path, WHAT).folder for _ in range(3)}) == 3


def test_what_is_no_unfinished_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no unfinished training in .* --config"):
        find_unfinished("latest", tmp_path)
    with pytest.raises(RunError, match="is no unfinished training; expected a folder"):
        find_unfinished(str(tmp_path), tmp_path)


def test_training_that_lasts_is_refused_until_it_ends(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    with pytest.raises(RunError, match="is being trained by another edgecell"):
        find_unfinished("latest", tmp_path)
    unfinished.release()
    find_unfinished("latest", tmp_path).release()


def test_removed_training_leaves_nothing(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    unfinished.save(_state())
    unfinished.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "no npz", "pickled"])
def test_damaged_state_is_refused(damage: str, tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    unfinished.save(_state())
    path = unfinished.folder / STATE
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        place = data.index(_state().weights[3].tobytes())
        data[place] ^= 1
        path.write_bytes(data)
    elif damage == "no npz":
        path.write_bytes(b"\x93NUMPY\x01\x00 and more")
    else:
        with path.open("wb") as file:
            np.savez(file, history=np.array([object()]))
    with pytest.raises(RunError, match=r"is damaged .* train again"):
        unfinished.load()


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    unfinished.release()
    (unfinished.folder / RECORD).write_text("{}")
    with pytest.raises(RunError, match="lacks the key 'name'"):
        find_unfinished("latest", tmp_path)


def test_best_epoch_is_the_first_with_the_lowest_loss() -> None:
    assert best_epoch([]) == 0
    assert best_epoch(_losses(0.5, 0.3, 0.4, 0.3)) == 2


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ((), 1, False),
        ((0.5,), 1, False),
        ((0.5, 0.5), 1, True),
        ((0.5, 0.6, 0.7), 2, True),
        ((0.5, 0.6, 0.4), 2, False),
        ((0.5, 0.6, 0.7), 0, False),
    ],
)
def test_training_has_stalled_after_its_patience(
    losses: tuple[float, ...], patience: int, expected: bool
) -> None:
    assert has_stalled(_losses(*losses), patience) is expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((0.5, 0.4, 0.3), 0),
        ((0.5, 0.6), 0),
        ((0.5, 0.6, 0.7), 1),
        ((0.5, 0.6, 0.7, 0.8), 1),
        ((0.5, 0.6, 0.7, 0.8, 0.9), 2),
        ((0.5, 0.6, 0.4, 0.5, 0.6), 1),
    ],
)
def test_plateaus_are_counted_anew_after_each(losses: tuple[float, ...], expected: int) -> None:
    assert plateaus(_losses(*losses), patience=2) == expected
