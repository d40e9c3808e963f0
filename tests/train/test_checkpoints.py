"""What an unfinished training keeps: whole, held by one process, and refused when damaged."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.tiny_training import CONFIG

from edgecell_runtime.errors import RunError, StorageError
from edgecell_train.checkpoints import (
    RECORD,
    REST_BYTES,
    STATE,
    TrainingState,
    Unfinished,
    UnfinishedRecord,
    begin,
    find_unfinished,
    newest_free,
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


@dataclasses.dataclass(frozen=True)
class _Usage:
    """What ``shutil.disk_usage`` says."""

    free: int


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


def test_latest_is_the_newest_that_nobody_trains(tmp_path: Path) -> None:
    older, newer = begin(tmp_path, WHAT), begin(tmp_path, WHAT)
    with pytest.raises(RunError, match=f"{newer.folder.name} is being trained by another"):
        find_unfinished("latest", tmp_path)
    assert newest_free(tmp_path) == ""
    older.release()
    assert older.folder.name.endswith(newest_free(tmp_path))
    found = find_unfinished("latest", tmp_path)
    assert found.folder == older.folder
    newer.release()
    assert find_unfinished("latest", tmp_path).folder == newer.folder


def test_damaged_latest_is_not_passed_over(tmp_path: Path) -> None:
    for _ in range(2):
        newer = begin(tmp_path, WHAT)
        newer.release()
    (newer.folder / RECORD).write_text("{}")
    with pytest.raises(RunError, match="lacks the key 'name'"):
        find_unfinished("latest", tmp_path)


def test_removed_training_leaves_nothing(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    unfinished.save(_state())
    unfinished.remove()
    assert list(tmp_path.iterdir()) == []


def test_training_is_out_of_sight_before_its_first_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = begin(tmp_path, WHAT)
    unfinished.save(_state())

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            unfinished.remove()
    with pytest.raises(RunError, match="There is no unfinished training"):
        find_unfinished("latest", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert [begin(tmp_path, WHAT).folder] == list(tmp_path.iterdir()), "it was swept away"


@pytest.mark.parametrize(("free", "fits"), [(2500 + REST_BYTES, True), (2499 + REST_BYTES, False)])
def test_training_needs_room_for_its_state_twice_and_its_model(
    free: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = begin(tmp_path, WHAT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(free))
    if fits:
        unfinished.require_room(state_bytes=1000, model_bytes=500)
        return
    with pytest.raises(StorageError, match=r"17 MB free.* up to 17 MB there.* choose another"):
        unfinished.require_room(state_bytes=1000, model_bytes=500)
    (unfinished.folder / STATE).write_bytes(b"x")
    unfinished.require_room(state_bytes=1000, model_bytes=500)


def test_name_of_the_run_comes_back_as_a_name_alone(tmp_path: Path) -> None:
    unfinished = begin(tmp_path, WHAT)
    assert unfinished.run_name == ""
    unfinished.name_run("20250101-000000-tiny")
    assert unfinished.run_name == "20250101-000000-tiny"
    (unfinished.folder / "run").write_text("../../elsewhere")
    assert unfinished.run_name == "elsewhere"


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
