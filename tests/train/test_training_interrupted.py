"""Ctrl-C and a full disk: no half run, no litter, and all that was there stays."""

import dataclasses
import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tiny_training import CONFIG, TINY, Watcher, build_tiny, contents, train_tiny

from edgecell_runtime.errors import StorageError
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_train import checkpoints, optimization, plots, run_writing, runs, training
from edgecell_train.checkpoints import find_unfinished
from edgecell_train.config import Optimizer
from edgecell_train.fitting import Fitted
from edgecell_train.presets.base import KerasModel
from edgecell_train.runs import Run
from edgecell_train.training import Job, Outcome, finished_run, train


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
    note = runs.point_latest(older / outcome.run.folder.name)
    assert "latest could not be made a link to the run" in note
    assert contents(older) == before


@pytest.mark.usefixtures("ready")
def test_report_is_written_before_the_run_has_its_name(cells: Path, older: Path) -> None:
    seen = []

    def report(run: Run, images: LabelledImages, model: KerasModel) -> None:
        seen.append((run.folder.name, run.folder.parent.name[0], len(run.answers()), len(images)))
        assert model.count_params() > 0
        (run.folder / "report.html").write_text("report")

    with open_labelled(cells) as images:
        outcome = train(images, Job(TINY, CONFIG), older, Watcher(), report=report)
    assert (outcome.run.folder / "report.html").is_file()
    ((name, first, answers, count),) = seen
    assert (name, first, count) == (outcome.run.folder.name, ".", 202)
    assert answers == len(outcome.run.answers())


@pytest.mark.usefixtures("ready")
def test_interrupted_report_leaves_everything_as_it_was_the_drawn_cells_too(
    cells: Path, older: Path
) -> None:
    archive = older.parent / "cells.zip"
    shutil.copy(cells.parent / "cells.zip", archive)
    before = contents(older.parent)
    job = Job(TINY, CONFIG, drawn=True)
    with open_labelled(archive) as images, pytest.raises(KeyboardInterrupt):
        train(images, job, older, Watcher(), report=_raising(KeyboardInterrupt()))
    assert contents(older.parent) == before


def test_training_that_ended_is_found_finished_and_not_trained_again(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "point_latest", _raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(cells, tmp_path)
    run = finished_run(find_unfinished("latest", tmp_path))
    assert run is not None
    assert {path.name for path in tmp_path.iterdir()} == {run.folder.name, "latest"}
    assert (tmp_path / "latest").resolve() == run.folder


def test_training_that_did_not_end_is_not_found_finished(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(plots, "history", _raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(cells, tmp_path)
    unfinished = find_unfinished("latest", tmp_path)
    assert finished_run(unfinished) is None
    unfinished.name_run("20250101-000000-tiny")
    assert finished_run(unfinished) is None, "it was about to be named, and was not"
    assert unfinished.folder.is_dir()


def test_disk_too_full_for_the_next_state_is_noticed_before_a_training_goes_on(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(plots, "history", _raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(cells, tmp_path)
    unfinished = find_unfinished("latest", tmp_path)
    before = contents(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    room = unfinished.state_bytes * 3 // 2 + checkpoints.REST_BYTES
    watcher = Watcher()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=room - 1))
    with pytest.raises(StorageError, match="Make room"):
        train_tiny(cells, tmp_path, watcher=watcher, unfinished=unfinished)
    assert watcher.seen.get("Training", []) == []
    assert contents(tmp_path) == before


OPTIMIZERS = (
    Optimizer("adam"),
    Optimizer("adamw", weight_decay=0.01),
    Optimizer("sgd"),
    Optimizer("sgd", momentum=0.9),
    Optimizer("rmsprop"),
    Optimizer("rmsprop", momentum=0.9),
    Optimizer("adadelta"),
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: f"{one.name}-{one.momentum}")
def test_size_of_a_state_is_known_from_the_number_of_parameters(optimizer: Optimizer) -> None:
    model = build_tiny((12, 12, 3), 2)
    made = optimization.optimizer(dataclasses.replace(CONFIG, optimizer=optimizer), 5)
    made.build(model.trainable_variables)
    weights = [np.zeros(v.shape, np.float32) for v in model.weights]
    slots = [np.zeros(v.shape, np.float32) for v in made.variables]
    counters = 16  # the number of steps and the learning rate
    size = sum(array.nbytes for array in (*weights, *weights, *slots))
    found = optimization.training_bytes(model, optimizer)
    assert 0 <= size - found.state <= counters
    assert found.model == sum(array.nbytes for array in weights)
