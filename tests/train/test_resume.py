"""A training that is killed or interrupted goes on, and ends as if nothing had happened."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import resume_child
from support.resume_child import LONG
from support.tiny_training import TINY, Watcher, contents, train_tiny

from edgecell_runtime.errors import DataError, RunError, StorageError
from edgecell_train import checkpoints, plots
from edgecell_train.checkpoints import Unfinished, find_unfinished
from edgecell_train.runs import HISTORY, find_run
from edgecell_train.stepping import derived_seed
from edgecell_train.training import Outcome


@pytest.fixture(scope="module")
def unbroken(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The training that nobody interrupts."""
    return train_tiny(cells, tmp_path_factory.mktemp("unbroken"), config=LONG)


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unfinished, "is_due", lambda self: True)


class InterruptAt(Watcher):
    """Interrupts in a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        tell = super().stage(name)

        def told(done: int, total: int, words: str) -> None:
            tell(done, total, words)
            if name == "Training" and done == self._step:
                raise KeyboardInterrupt

        return told


def _run_child(*arguments: str) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(resume_child.__file__), *arguments]
    return subprocess.run(command, env=environment, check=False, timeout=250).returncode


def _assert_same(one: Outcome | Path, unbroken: Outcome) -> None:
    found = find_run(one) if isinstance(one, Path) else one.run
    wanted = unbroken.run
    assert (found.folder / HISTORY).read_text() == (wanted.folder / HISTORY).read_text()
    assert found.record.weights_sha256 == wanted.record.weights_sha256
    assert found.record.kept_epoch == wanted.record.kept_epoch
    assert found.record.evaluation == wanted.record.evaluation


def test_killed_training_goes_on_to_the_same_end(
    unbroken: Outcome, cells: Path, tmp_path: Path
) -> None:
    assert _run_child(str(cells), str(tmp_path), "--die-in-epoch", "2") == -signal.SIGKILL
    left = find_unfinished("latest", tmp_path)
    state = left.load()
    assert state is not None
    assert len(state.history) == 1
    left.release()
    assert _run_child(str(cells), str(tmp_path), "--resume") == 0
    _assert_same(tmp_path / "latest", unbroken)
    assert not list(tmp_path.glob(".unfinished-*")), "a finished training leaves none"


@pytest.mark.slow
def test_training_killed_before_its_first_state_begins_anew(
    unbroken: Outcome, cells: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, tmp_path, config=LONG, watcher=InterruptAt(20))
    left = find_unfinished("latest", tmp_path)
    (left.folder / checkpoints.STATE).unlink()
    _assert_same(train_tiny(cells, tmp_path, config=LONG, unfinished=left), unbroken)


def test_interrupted_training_says_where_it_was_left_and_goes_on(
    unbroken: Outcome, cells: Path, tmp_path: Path
) -> None:
    steps = len(unbroken.parts[unbroken.parts == "training"]) // LONG.batch_size + 1
    first, second = InterruptAt(steps + 2), InterruptAt(3 * steps + 1)
    unfinished = None
    for watcher in (first, second):  # twice, the second time in what went on
        with pytest.raises(KeyboardInterrupt):
            train_tiny(cells, tmp_path, config=LONG, watcher=watcher, unfinished=unfinished)
        unfinished = find_unfinished("latest", tmp_path)
        assert watcher.folders == [unfinished.folder]
    state = unfinished.load() if unfinished else None
    assert state is not None
    assert len(state.history) == 3
    _assert_same(train_tiny(cells, tmp_path, config=LONG, unfinished=unfinished), unbroken)


def test_training_that_could_not_be_written_goes_on_without_training_again(
    unbroken: Outcome, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher()
    with monkeypatch.context() as patch:
        patch.setattr(plots, "history", _no_space)
        with pytest.raises(StorageError):
            train_tiny(cells, tmp_path, config=LONG, watcher=watcher)
    unfinished = find_unfinished("latest", tmp_path)
    assert watcher.folders == [unfinished.folder]
    again = Watcher()
    outcome = train_tiny(cells, tmp_path, config=LONG, watcher=again, unfinished=unfinished)
    _assert_same(outcome, unbroken)
    assert again.seen["Training"] == [], "not one step"


def test_other_images_are_refused_and_leave_the_unfinished_training_as_it_is(
    cells: Path, tmp_path: Path
) -> None:
    unfinished = _interrupted(cells, tmp_path)
    before = contents(tmp_path)
    other = dataclasses.replace(unfinished.record, data_sha256="0" * 64)
    with pytest.raises(DataError, match=r"The images are not those .* without --resume"):
        train_tiny(
            cells,
            tmp_path,
            config=LONG,
            unfinished=_with_record(unfinished, other),
        )
    assert contents(tmp_path) == before


def test_state_of_another_model_is_refused(cells: Path, tmp_path: Path) -> None:
    unfinished = _interrupted(cells, tmp_path)
    state = unfinished.load()
    assert state is not None
    unfinished.save(dataclasses.replace(state, weights=state.weights[:-1]))
    with pytest.raises(RunError, match="holds the state of another model"):
        train_tiny(cells, tmp_path, config=LONG, unfinished=unfinished)


def test_order_and_draws_differ_from_epoch_to_epoch_and_not_from_call_to_call() -> None:
    drawn = {derived_seed(3, kind, epoch) for kind in (1, 2, 3) for epoch in range(50)}
    assert len(drawn) == 150
    assert derived_seed(3, 1, 2) == derived_seed(3, 1, 2)
    assert all(0 <= seed < 2**31 for seed in drawn)


def _no_space(*arguments: object) -> bytes:
    raise OSError(28, os.strerror(28))


def _interrupted(cells: Path, runs: Path) -> Unfinished:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, runs, preset=TINY, config=LONG, watcher=InterruptAt(20))
    return find_unfinished("latest", runs)


def _with_record(unfinished: Unfinished, record: checkpoints.UnfinishedRecord) -> Unfinished:
    unfinished.record = record
    return unfinished
