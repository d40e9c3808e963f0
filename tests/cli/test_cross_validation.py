"""``edgecell train --folds`` as people run it, on a tiny preset: whole, killed, refused."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import folds_child
from support.command_line import invoke
from support.tiny_training import TINY, write_cells

from edgecell import report
from edgecell.tasks.file_lock import locked
from edgecell_runtime.errors import TrainingError
from edgecell_train.checkpoints import Unfinished
from edgecell_train.presets import PRESETS
from edgecell_train.runs import find_run, point_latest
from edgecell_train.stepping import Trainer

FOLDS = 2
OPTIONS = ("--preset", "tiny", "--epochs", "2", "--folds", str(FOLDS))
SAME = ("cross-validation.json", "cross-validation.md", "config.toml")
SAME_IN_RUN = ("config.toml", "split.csv", "history.csv", "answers.csv", "patients.csv")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(report, "write_report", lambda path, *rest: path.write_text("report"))
    monkeypatch.setattr(Unfinished, "is_due", lambda self: True)


def _child(fold: int, where: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    given = [str(argument) for argument in (fold, where, *arguments)]
    command = [sys.executable, str(folds_child.__file__), *given]
    return subprocess.run(
        command, env=environment, check=False, timeout=250, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def whole(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-validation that nobody interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    done = _child(0, "never", "train", *OPTIONS, "--data", cells, "--out", runs, "--json")
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["folder"])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _assert_same(folder: Path, whole: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )
    for name in SAME:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    for number in range(1, FOLDS + 1):
        one, other = folder / f"fold-{number}", whole / f"fold-{number}"
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
        for name in SAME_IN_RUN:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        assert find_run(one).record.weights_sha256 == find_run(other).record.weights_sha256
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "no litter"


def test_every_image_and_patient_is_tested_by_exactly_one_fold(whole: Path) -> None:
    tested: dict[str, list[int]] = {}
    of_patient: dict[str, set[int]] = {}
    for number in range(1, FOLDS + 1):
        rows = _rows(whole / f"fold-{number}" / "split.csv")
        parts = {row["patient"]: row["part"] for row in rows}
        assert all(parts[row["patient"]] == row["part"] for row in rows)
        for row in rows:
            if row["part"] == "test":
                tested.setdefault(row["name"], []).append(number)
                of_patient.setdefault(row["patient"], set()).add(number)
    everything = {row["name"] for row in _rows(whole / "fold-1" / "split.csv")}
    assert set(tested) == everything
    assert all(len(folds) == 1 for folds in (*tested.values(), *of_patient.values()))


def test_pooled_accuracy_is_that_of_all_answers(whole: Path) -> None:
    document = json.loads((whole / "cross-validation.json").read_text())
    answers = [row for n in range(1, FOLDS + 1) for row in _rows(whole / f"fold-{n}/answers.csv")]
    right = [
        (float(row["p(Parasitized)"]) > 0.5) == (row["label"] == "Parasitized") for row in answers
    ]
    pooled = document["pooled"]
    assert (pooled["n"], document["folds"], document["split"]) == (len(answers), FOLDS, "patient")
    assert pooled["accuracy"]["value"] == pytest.approx(np.mean(right))
    of_folds = [run["evaluation"]["accuracy"]["value"] for run in document["runs"]]
    assert document["spread"]["accuracy"]["mean"] == pytest.approx(np.mean(of_folds))
    assert document["spread"]["accuracy"]["standard_deviation"] == pytest.approx(
        np.std(of_folds, ddof=1)
    )
    assert "| accuracy | " in (whole / "cross-validation.md").read_text()


@pytest.mark.parametrize(
    ("fold", "where"),
    [
        pytest.param(1, "training", marks=pytest.mark.slow),
        (2, "training"),
        pytest.param(1, "report", marks=pytest.mark.slow),
        pytest.param(2, "named", marks=pytest.mark.slow),
    ],
)
def test_killed_cross_validation_goes_on_to_the_same_files(
    fold: int, where: str, whole: Path, cells: Path, tmp_path: Path
) -> None:
    killed = _child(fold, where, "train", *OPTIONS, "--data", cells, "--out", tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = tmp_path.glob("*-tiny-2-folds")
    assert not (folder / "cross-validation.json").exists()
    assert len(list(folder.glob("fold-*"))) == fold - 1
    wanted = "latest" if fold == 1 else folder
    done = _child(0, "never", "train", "--resume", wanted, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"with {fold - 1} of 2 folds finished" in done.stderr
    trained = "epoch 2/2" in done.stderr.split("Fold 2")[0]
    assert trained == ((fold, where) == (1, "training"))
    _assert_same(folder, whole)


def test_one_fold_is_repeated_by_its_config(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = whole / "fold-2" / "config.toml"
    done = invoke(capsys, "train", "--config", config, "--out", tmp_path, "--json")
    assert done.status == 0, done.err
    found, wanted = find_run(tmp_path / "latest"), find_run(whole / "fold-2")
    assert found.record.weights_sha256 == wanted.record.weights_sha256
    assert found.record.configuration["fold"] == 2
    for name in SAME_IN_RUN:
        assert (found.folder / name).read_bytes() == (wanted.folder / name).read_bytes(), name


def test_interrupted_cross_validation_says_how_to_go_on_and_leaves_latest_alone(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "older").mkdir()
    point_latest(tmp_path / "older")
    train_epoch = Trainer.train_epoch

    def interrupted(self: Trainer, epoch: int, report: object) -> tuple[float, float]:
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, lambda steps, accuracy: None)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", interrupted)
        stopped = invoke(capsys, "train", *OPTIONS, "--data", cells, "--out", tmp_path)
    (folder,) = tmp_path.glob("*-folds")
    assert stopped.status == 130
    assert f"with 0 of 2 folds finished; go on with: edgecell train --resume {folder}" in (
        stopped.err
    )
    assert "Fold 1 of 2: Training ..." in stopped.err
    refused = invoke(capsys, "train", "--resume", folder, "--seed", 8, "--out", tmp_path)
    assert refused.status == 2
    assert "was begun with another seed" in refused.err
    table = tmp_path / "table.csv"
    done = invoke(capsys, "train", "--resume", folder, "--output", table)
    assert done.status == 0, done.err
    assert "tiny, 2 folds: 201 test images, 20 unseen patients" in done.out
    assert table.read_text().startswith("figure,pooled (95 % interval),mean of folds,")
    assert (tmp_path / "latest").readlink() == Path("older")
    again = invoke(capsys, "train", "--resume", folder)
    assert again.status == 2
    assert "this cross-validation is finished" in again.err


def _half(whole: Path, folder: Path) -> Path:
    """A cross-validation whose second fold has not begun."""
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "fold-2")
    (folder / "cross-validation.json").unlink()
    return folder


def _replace_in_configs(folder: Path, old: object, new: object) -> None:
    for path in (folder / "config.toml", folder / "fold-1" / "config.toml"):
        path.write_text(path.read_text().replace(str(old), str(new)))


def test_images_that_change_between_folds_are_refused_before_they_are_trained_on(
    whole: Path, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, others = _half(whole, tmp_path / "runs" / "half-folds"), tmp_path / "cell_images"
    shutil.copytree(cells, others)
    (others / "Uninfected" / "lone.png").unlink()
    _replace_in_configs(folder, cells, others)
    refused = invoke(capsys, "train", "--resume", folder)
    assert refused.status == 1
    assert "their hash has changed" in refused.err
    assert "Training ..." not in refused.err
    assert (folder / "fold-1").is_dir()


def test_fold_trained_with_other_options_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _half(whole, tmp_path / "runs" / "half-folds")
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("batch_size = 32", "batch_size = 16"))
    refused = invoke(capsys, "train", "--resume", folder)
    assert refused.status == 1
    assert "was trained with another batch_size" in refused.err


def test_two_at_once_in_one_folder_are_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _half(whole, tmp_path / "runs" / "half-folds")
    with locked(folder):
        refused = invoke(capsys, "train", "--resume", folder)
    assert refused.status == 1
    assert "by another edgecell" in refused.err
    assert [path.name for path in folder.glob("*fold-*")] == ["fold-1"]


def test_diverged_fold_keeps_the_others_and_gives_no_vain_advice(
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = _half(whole, tmp_path / "runs" / "half-folds")

    def diverged(*arguments: object) -> None:
        raise TrainingError("Training diverged.")

    monkeypatch.setattr(Trainer, "train_epoch", diverged)
    left = invoke(capsys, "train", "--resume", folder)
    assert left.status == 1
    assert "with 1 of 2 folds finished\n" in left.err
    assert (folder / "fold-1").is_dir()


@pytest.mark.slow
def test_folds_of_drawn_cells_keep_them_in_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = invoke(capsys, "train", *OPTIONS[:2], "--epochs", 1, *OPTIONS[4:], "--out", tmp_path)
    assert done.status == 0, done.err
    assert "30 unseen patients, drawn cells" in done.out
    (folder,) = tmp_path.glob("*-folds")
    for number in range(1, FOLDS + 1):
        with find_run(folder / f"fold-{number}").open_images() as images:
            assert len(images) == 1500


def test_split_by_image_warns_in_the_run_and_on_the_screen(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "tiny", "--data", cells, "--epochs", "1", "--split", "image")
    done = invoke(capsys, "train", *options, "--out", tmp_path)
    assert done.status == 0, done.err
    assert "The split is by image, and the patients are known" in done.err
    assert "patients, who were trained on too" in done.out
    (note, *_) = find_run(tmp_path / "latest").record.training_notes
    assert "the figures are too good" in note


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--folds", "1"), 2, "or equal to 2"),
        (("--set", "folds=1"), 2, "folds is 1; it takes 2 or more"),
        (("--folds", "3", "--fold", "4"), 2, "fold is 4; it takes 1 to 3"),
        (("--fold", "2"), 2, "fold is 2, and there are no folds"),
        (("--folds", "21"), 1, "There are 20 patients or lone images of Parasitized for 21 folds"),
        (("--folds", "3", "--positive", "ring"), 2, "--positive ring is none of the labels"),
        (("--folds", "3", "--preset", "tinny"), 2, "There is no preset 'tinny'"),
        (("--split", "slide"), 2, "slide"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_leave_nothing(
    arguments: tuple[str, ...],
    status: int,
    said: str,
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"
    outcome = invoke(
        capsys, "train", "--preset", "tiny", "--data", cells, *arguments, "--out", runs
    )
    assert said in outcome.err
    assert outcome.status == status
    assert not list(runs.glob("*"))


def test_set_with_its_own_test_part_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, truth = np.zeros((40, 12, 12, 3), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "set.npz", x_train=pixels, y_train=truth, x_test=pixels, y_test=truth)
    options = ("--preset", "tiny", "--data", tmp_path / "set.npz", "--folds", "3")
    outcome = invoke(capsys, "train", *options, "--out", tmp_path / "runs")
    assert outcome.status == 2
    assert "the set brings its own test part along" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_each_fold_learns_from_the_same_fold_of_its_teacher(
    cells: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("train", *OPTIONS, "--data", cells, "--out", tmp_path, "--teacher", whole, "--json")
    folder = Path(invoke(capsys, *asked).document["folder"])
    notes = [find_run(folder / f"fold-{n}").record.training_notes for n in range(1, FOLDS + 1)]
    assert all("learned from the answers of" in " ".join(of_fold) for of_fold in notes)


def test_teacher_of_folds_is_refused_without_folds(
    cells: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("train", "--preset", "tiny", "--data", cells, "--out", tmp_path, "--teacher", whole)
    refused = invoke(capsys, *asked)
    assert refused.status == 2
    assert "name one of its folds" in refused.err
