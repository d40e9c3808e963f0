"""``edgecell train`` as people run it, on a tiny preset: repeated, interrupted, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import invoke
from support.tiny_training import TINY, write_cells

from edgecell import report
from edgecell_train.checkpoints import Unfinished, find_unfinished
from edgecell_train.config_files import read_config
from edgecell_train.presets import PRESETS
from edgecell_train.runs import find_run
from edgecell_train.stepping import Trainer


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(report, "write_report", lambda path, *rest: path.write_text("report"))
    monkeypatch.setattr(Unfinished, "is_due", lambda self: True)


def _interrupt_in_epoch(monkeypatch: pytest.MonkeyPatch, wanted: int) -> None:
    train_epoch = Trainer.train_epoch

    def interrupted(self: Trainer, epoch: int, report: object) -> tuple[float, float]:
        if epoch == wanted:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, lambda steps, accuracy: None)

    monkeypatch.setattr(Trainer, "train_epoch", interrupted)


def test_run_is_repeated_by_the_config_that_it_keeps(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "tiny", "--data", cells, "--epochs", 2, "--learning-rate", 0.01)
    more = ("--set", "augmentation.flips=true", "--class-weights", "balanced", "--seed", 5)
    first = invoke(capsys, "train", *options, *more, "--out", tmp_path / "first", "--json")
    assert first.status == 0, first.err
    folder = tmp_path / "first" / "latest"
    kept = read_config(folder / "config.toml").values
    assert (kept["data"], kept["seed"]) == (str(cells), 5)
    again = invoke(
        capsys, "train", "--config", folder / "config.toml", "--out", tmp_path / "second", "--json"
    )
    assert again.status == 0, again.err
    assert again.document["weights_sha256"] == first.document["weights_sha256"]
    assert again.document["configuration"] == first.document["configuration"]
    assert first.document["configuration"]["optimizer.learning_rate"] == 0.01
    other = find_run(tmp_path / "second" / "latest")
    assert (other.folder / "config.toml").read_bytes() == (folder / "config.toml").read_bytes()
    assert (other.folder / "history.csv").read_bytes() == (folder / "history.csv").read_bytes()


def test_interrupted_training_says_how_to_go_on_and_does(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    train = ("train", "--preset", "tiny", "--data", cells, "--epochs", 3, "--out")
    assert invoke(capsys, *train, tmp_path / "whole").status == 0
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_in_epoch(patch, 2)
        stopped = invoke(capsys, *train, runs)
    assert stopped.status == 130
    (folder,) = runs.glob(".unfinished-*")
    assert f"--resume {folder}" in stopped.err
    refused = invoke(capsys, *train, runs, "--resume", "latest", "--seed", 8)
    assert refused.status == 2
    assert "was begun with another seed; a training goes on with the options" in refused.err
    done = invoke(capsys, "train", "--resume", "latest", "--out", runs)
    assert done.status == 0, done.err
    assert "Going on with" in done.err
    assert "after epoch 1." in done.err
    whole, found = find_run(tmp_path / "whole" / "latest"), find_run(runs / "latest")
    assert found.record.weights_sha256 == whole.record.weights_sha256
    assert list(runs.glob(".unfinished-*")) == []


def test_training_interrupted_in_its_report_leaves_no_run_and_only_reports_again(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", interrupt)
        stopped = invoke(
            capsys, "train", "--preset", "tiny", "--data", cells, "--epochs", 2, "--out", tmp_path
        )
    assert stopped.status == 130
    assert "--resume" in stopped.err
    assert {path.name[:12] for path in tmp_path.iterdir()} == {".unfinished-"[:12], "cache"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", interrupt)
        done = invoke(capsys, "train", "--resume", "latest", "--out", tmp_path)
    assert done.status == 0, done.err
    found = find_run(tmp_path / "latest").folder
    assert {"report.html", "grad_cam.npz"} <= {path.name for path in found.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "latest", found.name}


def test_training_killed_when_its_run_has_its_name_leaves_no_second_run(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecell_train.training.point_latest", interrupt)
        stopped = invoke(
            capsys, "train", "--preset", "tiny", "--data", cells, "--epochs", 2, "--out", tmp_path
        )
    assert stopped.status == 130
    assert len(list(tmp_path.glob(".unfinished-*"))) == 1
    (run,) = tmp_path.glob("*-tiny/report.html")
    done = invoke(capsys, "train", "--resume", "latest", "--out", tmp_path, "--json")
    assert done.status == 0, done.err
    assert done.document["run"] == str(run.parent)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "latest", run.parent.name}


def test_latest_goes_on_with_the_newest_that_no_other_process_trains(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_in_epoch(patch, 2)
        invoke(capsys, "train", "--preset", "tiny", "--data", cells, "--out", tmp_path)
    (older,) = tmp_path.glob(".unfinished-*")
    newer = older.with_name(".unfinished-99991231-235959-tiny")
    shutil.copytree(older, newer)
    held = find_unfinished(str(newer), tmp_path)
    done = invoke(capsys, "train", "--resume", "latest", "--out", tmp_path)
    assert done.status == 0, done.err
    assert not older.exists()
    refused = invoke(capsys, "train", "--resume", "latest", "--out", tmp_path)
    assert refused.status == 1
    assert "is being trained by another edgecell" in refused.err
    held.release()


def test_terminated_training_leaves_its_state_as_an_interrupted_one_does(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_epoch = Trainer.train_epoch

    def terminated(self: Trainer, epoch: int, report: object) -> tuple[float, float]:
        if epoch == 2:
            signal.raise_signal(signal.SIGTERM)
        return train_epoch(self, epoch, lambda steps, accuracy: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", terminated)
        stopped = invoke(
            capsys, "train", "--preset", "tiny", "--data", cells, "--epochs", 2, "--out", tmp_path
        )
    assert stopped.status == 143
    (folder,) = tmp_path.glob(".unfinished-*")
    assert f"--resume {folder}" in stopped.err
    assert find_unfinished("latest", tmp_path).has_state


def test_full_disk_is_noticed_before_the_first_step(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
        patch.setattr(Trainer, "train_epoch", interrupt)
        refused = invoke(
            capsys, "train", "--preset", "tiny", "--data", cells, "--out", tmp_path, "--no-cache"
        )
    assert refused.status == 1
    assert f"{tmp_path} has 10 MB free, and this training writes up to 17 MB there" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_second_training_over_the_same_images_needs_no_library_before_keras(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", "--data", str(cells), "--preset", "logistic", "--size", "12x12", "--out")
    first = invoke(capsys, *train, tmp_path / "runs", "--epochs", 1)
    assert first.status == 0, first.err
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BEFORE_KERAS, *train, str(tmp_path / "runs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


BEFORE_KERAS = """
import os, sys
from edgecell.cli import run
from edgecell_train import training

def fit(*arguments):
    slow = ("sklearn", "scipy", "matplotlib", "jinja2", "h5py", "keras", "tensorflow")
    print([name for name in slow if name in sys.modules], flush=True)
    os._exit(0)

training.fit = fit
run(sys.argv[1:])
"""


def test_changed_images_are_refused_when_a_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, runs = write_cells(tmp_path), tmp_path / "runs"
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_in_epoch(patch, 2)
        invoke(capsys, "train", "--preset", "tiny", "--data", cells, "--out", runs)
    (cells / "Uninfected" / "lone.png").unlink()
    refused = invoke(capsys, "train", "--resume", "latest", "--out", runs)
    assert refused.status == 1
    assert "their hash has changed" in refused.err
    assert len(list(runs.glob(".unfinished-*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "tiny", "--model", "a:b"), "--preset and --model both name a model"),
        (("--preset", "tinny"), "There is no preset 'tinny'"),
        (("--set", "rotation=15"), "it belongs into [augmentation]"),
        (("--learning-rate", "-1"), "optimizer.learning_rate"),
        (("--resume", "latest"), "There is no unfinished training"),
        (("--positive", "ring"), "--positive ring is none of the labels"),
        (("--epochs", "1000000000"), "equal to 100000"),
        (("--set", "epochs=1000000000"), "epochs is 1000000000; it takes 100,000 or less."),
    ],
)
def test_options_that_make_no_sense_are_refused_and_leave_nothing(
    arguments: tuple[str, ...],
    said: str,
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = () if "--resume" in arguments else ("--data", cells)
    runs = tmp_path / "runs"
    outcome = invoke(capsys, "train", *data, *arguments, "--out", runs)
    assert outcome.status == (1 if "--resume" in arguments else 2)
    assert said in outcome.err
    assert not list(runs.glob("*"))


def test_record_says_what_the_averages_were_worth(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = invoke(capsys, "train", "--preset", "tiny", "--data", cells, "--out", tmp_path, "--json")
    assert done.status == 0, done.err
    (first, *_) = json.loads(done.out)["training_notes"]
    assert first.startswith("BatchNormalization's averages were estimated anew")
    assert first.split(". ")[0] in done.err
