"""The bundled models on the command line: where there is no run, by name, and on known cells."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.command_line import invoke, latest_run, write_cell

from edgecell.drawn_cells import write_drawn_cells
from edgecell.tasks import trained_on
from edgecell.tasks.bench.images import choose
from edgecell_export.source import KnownImage
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bundled import bundled_file, bundled_names
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.stored_images import image_sha256
from edgecell_train.runs import Run, SplitRow

DRAWN = 60
PEOPLE = ("P1", "P1", "P2", None)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("drawn") / "cells.zip"
    write_drawn_cells(archive, count=DRAWN, patients=6)
    return archive


def test_bundled_model_decides_where_there_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = write_cell(tmp_path / "cell.png", 0)
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "predict", cell, "--json")
    assert outcome.status == 0
    assert outcome.document["model"] == str(bundled_file("cell-small"))
    assert (
        "Model: cell-small, bundled with edgecell, as there is no runs/latest here" in outcome.err
    )


def test_latest_run_goes_before_bundled_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    cell = write_cell(tmp_path / "cell.png", 0)
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "predict", cell, "--json")
    assert Path(outcome.document["model"]).resolve().is_relative_to(run.folder.resolve())


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_model_is_named_like_a_file(
    name: str, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted = invoke(capsys, "predict", drawn, "--model", name, "--json")
    assert predicted.document["model"] == str(bundled_file(name))
    inspected = invoke(capsys, "inspect", name, "--json")
    assert inspected.document["size_bytes"] == bundled_file(name).stat().st_size


def test_file_of_that_name_goes_before_a_bundled_model(
    tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cell-nano").write_bytes(b"no artifact")
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "evaluate", "cell-nano", "--data", drawn)
    assert outcome.status == 1
    assert "cell-nano" in outcome.err


@pytest.mark.parametrize("command", ["inspect", "evaluate", "bench"])
def test_unknown_name_is_refused_with_those_that_there_are(
    command: str,
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = () if command == "inspect" else ("--data", drawn)
    outcome = invoke(capsys, command, "cell-huge", *options)
    assert outcome.status != 0
    assert "a bundled model: cell-micro, cell-nano, cell-small" in " ".join(outcome.err.split())


def test_list_of_what_bundled_models_were_trained_on_is_whole() -> None:
    manifests = [read_artifact(bundled_file(name)).manifest for name in bundled_names()]
    (data,) = {manifest.source.data_sha256 for manifest in manifests}
    marks = np.load(trained_on.marks_file(data), allow_pickle=False)
    assert (marks.dtype, marks.shape) == (np.uint32, (22_165, 2))


def test_evaluate_says_how_many_images_a_bundled_model_knows(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = invoke(capsys, "evaluate", "cell-nano", "--data", drawn)
    assert unknown.status == 0
    assert "trained or chosen on" not in unknown.err
    with open_labelled(drawn) as images:
        known = [KnownImage(o.name, image_sha256(images.read(o)), o.label) for o in images]
    monkeypatch.setattr(trained_on, "KNOWN", tmp_path)
    data = read_artifact(bundled_file("cell-nano")).manifest.source.data_sha256
    renamed = [dataclasses.replace(one, name=f"other-{n}.png") for n, one in enumerate(known[:7])]
    encoded_anew = [dataclasses.replace(one, sha256="f" * 64) for one in known[7:12]]
    trained_on.write_marks(data, [*renamed, *encoded_anew])
    found = invoke(capsys, "evaluate", "cell-nano", "--data", drawn)
    assert f"12 of {DRAWN} images are ones that the model was trained or chosen on:" in found.err


@pytest.mark.parametrize("content", [b"", b"no list at all", b"PK\x03\x04 torn"])
def test_damaged_list_of_training_images_is_refused_in_words(
    content: bytes,
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trained_on, "KNOWN", tmp_path)
    data = read_artifact(bundled_file("cell-nano")).manifest.source.data_sha256
    trained_on.marks_file(data).write_bytes(content)
    outcome = invoke(capsys, "evaluate", "cell-nano", "--data", drawn)
    assert outcome.status == 1
    assert "is damaged" in outcome.err
    assert "Install edgecell again" in outcome.err


def test_bundled_model_in_another_runs_folder_is_still_known(tmp_path: Path) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    copied = shutil.copy(bundled_file("cell-nano"), run.exports / "other.tflite")
    known = trained_on._known(read_artifact(Path(copied)))
    assert known is not None
    assert len(known.images) > 22_000


def test_benchmark_says_that_a_bundled_model_knows_the_images(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = latest_run(tmp_path / "runs", ("tflite", "float32"))
    (own,) = run.exports.glob("*.tflite")
    monkeypatch.setattr(trained_on, "KNOWN", tmp_path)
    data = read_artifact(bundled_file("cell-nano")).manifest.source.data_sha256
    trained_on.write_marks(data, [answer.image for answer in run.answers()])
    artifacts = [read_artifact(path) for path in (own, bundled_file("cell-nano"))]
    chosen = choose(artifacts, None, 0)
    assert chosen.kind == "known"
    assert "cell-nano.tflite lies in no run" not in capsys.readouterr().err


@pytest.mark.parametrize(("drawn", "expected"), [(False, 2), (True, 0)])
def test_other_images_of_a_runs_training_patients_are_said(
    drawn: bool,
    expected: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    record = dataclasses.replace(run.record, data=dataclasses.replace(run.record.data, drawn=drawn))
    run = dataclasses.replace(run, record=record)
    row = SplitRow(KnownImage("a.png", "a" * 64, "Parasitized", "P1"), "training")
    tested = SplitRow(KnownImage("b.png", "b" * 64, "Parasitized", "P2"), "test")
    monkeypatch.setattr(Run, "split", lambda _: [row, tested])
    monkeypatch.setattr(trained_on, "run_of_artifact", lambda _: run)
    (path,) = run.exports.glob("*.onnx")
    artifact = read_artifact(path)
    manifest = dataclasses.replace(
        artifact.manifest,
        source=dataclasses.replace(artifact.manifest.source, weights_sha256=record.weights_sha256),
    )
    others = [KnownImage(f"{n}.png", f"{n}" * 64, "Parasitized", p) for n, p in enumerate(PEOPLE)]
    found = trained_on.warn_of_training_images(
        dataclasses.replace(artifact, manifest=manifest), others
    )
    assert found == expected
    said = "2 of 4 images are ones that the model was trained or chosen on, or on others of their"
    assert (said in " ".join(capsys.readouterr().err.split())) == bool(expected)
