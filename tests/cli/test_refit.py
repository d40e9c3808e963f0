"""``edgecell train --refit``: a cross-validation's recipe on all images, its folds' figures."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import artifacts
from support.command_line import invoke, seal
from support.tiny_training import TINY, write_cells

from edgecell.cli import run
from edgecell.tasks.bench.images import choose
from edgecell_export.source import source_probabilities
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import UsageError
from edgecell_train.checkpoints import Unfinished
from edgecell_train.comparing import compare
from edgecell_train.config import TrainConfig
from edgecell_train.cross_validation import read_result
from edgecell_train.distilling import find_teachers
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run, find_run
from edgecell_train.stepping import Trainer
from edgecell_train.tested_runs import disputed_of

OPTIONS = ("--preset", "tiny", "--epochs", "2", "--folds", "2")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def folds(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished cross-validation."""
    runs = tmp_path_factory.mktemp("folds")
    status = run(["train", *OPTIONS, "--data", str(cells), "--out", str(runs)])
    assert status == 0
    (folder,) = runs.glob("*-folds")
    return folder


@pytest.fixture(scope="module")
def refit(folds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished refit, its report included."""
    runs = tmp_path_factory.mktemp("refit")
    assert run(["train", "--refit", str(folds), "--out", str(runs)]) == 0
    return find_run(runs / "latest")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_refit_trains_on_every_image(refit: Run) -> None:
    assert {row.part for row in refit.split()} == {"training"}
    assert all(row["validation_loss"] == "" for row in _rows(refit.folder / "history.csv"))
    assert refit.record.kept_epoch == 2


def test_figures_of_a_refit_are_those_of_the_folds(refit: Run, folds: Path) -> None:
    pooled = read_result(folds).pooled
    assert refit.record.evaluation == pooled
    assert pooled.folds == 2
    (note, *_) = refit.record.training_notes
    assert "each on the patients that it was not trained on" in note


def test_tested_answers_of_a_refit_are_the_folds_own(refit: Run, folds: Path) -> None:
    of_folds = {}
    for number in (1, 2):
        rows = _rows(folds / f"fold-{number}" / "answers.csv")
        column = "uncalibrated(Parasitized)"
        column = column if column in rows[0] else "p(Parasitized)"
        of_folds |= {row["name"]: float(row[column]) for row in rows}
    rows = _rows(refit.folder / "out-of-fold.csv")
    column = "uncalibrated(Parasitized)"
    column = column if column in rows[0] else "p(Parasitized)"
    found = {row["name"]: float(row[column]) for row in rows}
    assert found == pytest.approx(of_folds, abs=1e-6)
    assert len(found) == refit.record.data.images


def test_exports_of_a_refit_calibrate_and_compare_on_different_patients(refit: Run) -> None:
    with refit.open_images() as images:
        evidence = refit.evidence(images)
    parts = {
        "calibration": [image.patient for image in evidence.training],
        "choices": [image.patient for image in evidence.validation],
        "comparison": [answer.image.patient for answer in evidence.held_out],
    }
    people = [set(part) - {None} for part in parts.values()]
    assert all(people)
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]


def test_answers_that_exports_are_held_against_are_the_refits_own(refit: Run) -> None:
    source, answers = refit.source_model(), refit.answers()
    with refit.open_images() as images:
        pixels = [
            source.preprocessing.apply(images.read(found))
            for found in (images.get(answer.image.name) for answer in answers)
            if found is not None
        ]
    expected = source_probabilities(
        source.model, np.stack(pixels), source.head, source.labels, source.temperature
    )
    assert len(pixels) == len(answers) > 20
    assert [answer.probabilities for answer in answers] == [
        pytest.approx(tuple(row), abs=1e-6) for row in expected
    ]


def test_report_of_a_refit_says_whose_figures_it_shows(refit: Run) -> None:
    text = (refit.folder / "report.html").read_text()
    assert "Not measured on this model, which was trained on all images" in text
    assert "validation curve" not in text
    assert not (refit.folder / "grad_cam.npz").exists(), "the answers are other nets'"


def test_report_of_a_refit_has_no_column_of_disputes_that_its_folds_did_not_know(
    refit: Run, folds: Path, tmp_path: Path
) -> None:
    name = refit.split()[0].image.name
    (tmp_path / "disputed.csv").write_text(f"name,disputed\n{name},1\n", encoding="utf-8")
    asked = ["train", "--refit", str(folds), "--disputed", str(tmp_path / "disputed.csv")]
    assert run([*asked, "--out", str(tmp_path / "runs")]) == 0
    again = find_run(tmp_path / "runs" / "latest")
    assert disputed_of(again) == {name}
    page = (again.folder / "report.html").read_text(encoding="utf-8")
    assert "ithout disputed labels" not in page


def test_refit_is_repeated_by_its_config(
    refit: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = refit.folder / "config.toml"
    done = invoke(capsys, "train", "--config", config, "--out", tmp_path, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["weights_sha256"] == refit.record.weights_sha256


def test_interrupted_refit_goes_on_to_the_same_weights(
    refit: Run,
    folds: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_epoch = Trainer.train_epoch

    def interrupted(self: Trainer, epoch: int, report: object) -> tuple[float, float]:
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, lambda steps, accuracy: None)

    monkeypatch.setattr(Unfinished, "is_due", lambda self: True)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", interrupted)
        stopped = invoke(capsys, "train", "--refit", folds, "--out", tmp_path)
    assert stopped.status == 130
    done = invoke(capsys, "train", "--resume", "latest", "--out", tmp_path)
    assert done.status == 0, done.err
    assert find_run(tmp_path / "latest").record.weights_sha256 == refit.record.weights_sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "3"), "epochs differs from it"),
        (("--seed", "1"), "seed differs from it"),
        (("--set", "augmentation.flips=true"), "augmentation.flips differs from it"),
        (("--folds", "2"), "folds differs from it"),
    ],
)
def test_refit_refuses_another_recipe(
    folds: Path,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = invoke(capsys, "train", "--refit", folds, *options, "--out", tmp_path)
    assert refused.status == 2
    assert message in refused.err


def test_refit_refuses_what_is_no_finished_cross_validation(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = invoke(capsys, "train", "--refit", folds / "fold-1", "--out", tmp_path)
    assert refused.status == 2
    assert "is no cross-validation" in refused.err
    half = tmp_path / "half-2-folds"
    shutil.copytree(folds, half)
    (half / "cross-validation.json").unlink()
    unfinished = invoke(capsys, "train", "--refit", half, "--out", tmp_path)
    assert unfinished.status == 2
    assert "is not finished; expected a cross-validation with all its folds" in unfinished.err
    torn = tmp_path / "torn-2-folds"
    shutil.copytree(folds, torn)
    shutil.rmtree(torn / "fold-2")
    missing = invoke(capsys, "train", "--refit", torn, "--out", tmp_path)
    assert missing.status == 1
    assert "has 1 of its 2 folds; expected all" in missing.err


def test_refit_refuses_other_images(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_cells(tmp_path)
    next((others / "Uninfected").glob("C*.png")).unlink()
    refused = invoke(capsys, "train", "--refit", folds, "--data", others, "--out", tmp_path / "r")
    assert refused.status == 1
    assert "does not hold the images of the cross-validation" in refused.err
    assert not list((tmp_path / "r").glob("[!.]*"))


def test_refit_refuses_a_teacher_that_its_recipe_had_not(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = ("--teacher", folds)
    refused = invoke(capsys, "train", "--refit", folds, *teacher, "--out", tmp_path)
    assert refused.status == 2
    assert "teachers differs from it" in refused.err


def test_refit_says_which_epochs_the_folds_kept(refit: Run, folds: Path) -> None:
    kept = [find_run(folds / f"fold-{number}").record.kept_epoch for number in (1, 2)]
    (note, *_) = refit.record.training_notes
    assert (f"The folds kept the epochs {kept[0]}, {kept[1]}," in note) == (kept != [2, 2])


@pytest.mark.parametrize("change", ["missing", "strange"])
def test_refit_refuses_folds_that_do_not_test_every_image(
    folds: Path, change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged-2-folds"
    shutil.copytree(folds, damaged)
    split = damaged / "fold-1" / "split.csv"
    head, *rows = split.read_text().splitlines()
    tested = next(place for place, row in enumerate(rows) if ",test," in row)
    if change == "missing":
        del rows[tested]
    else:
        rows[tested] = f"strange{rows[tested]}"
    split.write_text("\n".join([head, *rows]) + "\n")
    refused = invoke(capsys, "train", "--refit", damaged, "--out", tmp_path / "runs")
    assert refused.status == 1
    words = {"missing": "No fold of the cross-validation tested", "strange": "tested strange"}
    assert words[change] in refused.err


def test_refit_of_a_moved_cross_validation_is_refused_in_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=r"There is no cross-validation .*gone"):
        read_result(tmp_path / "gone")


def test_comparison_says_that_a_refits_column_is_of_other_nets(refit: Run, folds: Path) -> None:
    found = compare([find_run(folds / "fold-1"), refit])
    assert [note for note in found.notes if "its column is of other nets" in note] == [
        found.notes[0]
    ]
    assert found.notes[0].startswith(found.runs[1].name)


def test_benchmark_says_that_a_refit_knows_the_images(
    refit: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = refit.exports / "tiny.onnx"
    path.parent.mkdir(exist_ok=True)
    seal(path, artifacts.tiny_manifest("onnx"))
    chosen = choose([read_artifact(path)], None, 0)
    path.unlink()
    assert chosen.kind == "known"
    assert "was trained on all images: right answers are of images that it knows" in (
        capsys.readouterr().err
    )


def test_every_fold_of_a_teacher_teaches_a_refit(folds: Path) -> None:
    config = TrainConfig(preset="tiny", refit="folds", teachers=(str(folds),))
    found = find_teachers(config)
    assert [run.folder.name for run in found] == ["fold-1", "fold-2"]


def test_refit_is_refused_as_a_teacher_of_who_is_tested(
    refit: Run, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = ("--teacher", refit.folder, "--data", cells, "--out", tmp_path)
    refused = invoke(capsys, "train", "--preset", "tiny", "--epochs", "1", *teacher)
    assert refused.status == 1
    assert "so that the figures would be too good" in refused.err
