"""``edgecell train`` as people run it, on a tiny preset: repeated, interrupted, refused."""

import json
from pathlib import Path

import pytest
from support.command_line import invoke
from support.tiny_training import TINY, write_cells

from edgecell.tasks import training
from edgecell_train.checkpoints import Unfinished
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
    monkeypatch.setattr(training, "write_report", lambda path, *rest: path.write_text("report"))
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
