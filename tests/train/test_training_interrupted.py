"""Ctrl-C and a full disk: no half run, no litter, and all that was there stays."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_training import Watcher, contents, train_tiny

from edgecell_runtime.errors import StorageError
from edgecell_train import plots, run_writing, runs, training
from edgecell_train.fitting import Fitted
from edgecell_train.training import Outcome


@pytest.fixture
def older(outcome: Outcome, tmp_path: Path) -> Path:
    """A folder of runs with a finished one in it."""
    shutil.copytree(outcome.run.folder.parent, tmp_path / "runs", symlinks=True)
    return tmp_path / "runs"


@pytest.fixture
def ready(outcome: Outcome, fits: list[Fitted], monkeypatch: pytest.MonkeyPatch) -> None:
    """The fitting is done already: what is tried comes after it."""
    monkeypatch.setattr(training, "fit", lambda *arguments: fits[0])


def _raising(error: BaseException) -> Callable[..., bytes]:
    def fail(*arguments: object) -> bytes:
        raise error

    return fail


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("stage", ["Reading images", "Training"])
def test_interrupted_training_leaves_everything_as_it_was(
    stage: str, cells: Path, older: Path
) -> None:
    before = contents(older)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, older, watcher=Watcher(interrupt=stage))
    assert contents(older) == before


def test_interrupted_first_training_leaves_no_run(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, tmp_path / "runs", watcher=Watcher(interrupt="Training"))
    assert contents(tmp_path / "runs") == {}


@pytest.mark.usefixtures("ready")
def test_interrupted_writing_leaves_everything_as_it_was(
    cells: Path, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(older)
    monkeypatch.setattr(plots, "history", _raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, older)
    assert contents(older) == before


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("module", "name"),
    [(plots, "history"), (run_writing, "save_model"), (run_writing, "_write_csv")],
)
def test_full_disk_leaves_everything_as_it_was_the_drawn_cells_too(
    module: object, name: str, cells: Path, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = older.parent / "cells.zip"
    shutil.copy(cells.parent / "cells.zip", archive)
    before = contents(older.parent)
    monkeypatch.setattr(module, name, _raising(NO_SPACE))
    with pytest.raises(StorageError, match="could not be written: No space left"):
        train_tiny(archive, older, drawn=True)
    assert contents(older.parent) == before


@pytest.mark.usefixtures("ready")
def test_disk_that_takes_no_more_of_the_model_leaves_everything_as_it_was(
    cells: Path, older: Path
) -> None:
    """The operating system itself refuses the bytes, in the midst of Keras's writing."""
    before = contents(older)
    assert (older / "latest" / "tiny.keras").stat().st_size > 8192
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FullDisk(Watcher):
        def stage(self, name: str) -> Callable[[int, int, str], None]:
            if name == "Testing":
                resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
            return super().stage(name)

    try:
        with pytest.raises(StorageError, match="could not be written: File too large"):
            train_tiny(cells, older, watcher=FullDisk())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(older) == before


def test_run_is_kept_when_only_the_link_cannot_be_made(
    outcome: Outcome, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ``latest`` is a folder, a link cannot take its place; nor may it be removed."""
    (older / "latest").unlink()
    shutil.copytree(outcome.run.folder, older / "latest")
    before = contents(older)
    with pytest.raises(StorageError, match="latest could not be written"):
        runs.point_latest(older / outcome.run.folder.name)
    assert contents(older) == before
