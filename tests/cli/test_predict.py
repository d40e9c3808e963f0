import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifacts
from support.command_line import (
    Outcome,
    invoke,
    latest_run,
    positive_probability,
    seal,
    write_cell,
    write_file,
)

from edgecell_runtime.manifest import Format

PROGRAM = """
import json, sys
from edgecell.cli import run

status = run(sys.argv[1:])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"status": status, "loaded": sorted(loaded)}))
"""
HEAVY = {
    *("tensorflow", "keras", "jax", "onnx", "tf2onnx"),
    *("sklearn", "scipy", "matplotlib", "jinja2", "pandas"),
}
BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Two cells, a picture in a hidden folder, a hidden one, and a text."""
    folder = tmp_path / "cells"
    write_cell(folder / "b.png", 0)
    write_cell(folder / "a/c.PNG", 1)
    write_cell(folder / ".hidden/d.png", 2)
    write_file(folder / ".e.png")
    write_file(folder / "notes.txt")
    return folder


@BOTH
def test_predict_answers_as_the_graph_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], artifact_format: Format
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    cell = write_cell(tmp_path / "cell.png", 5)
    outcome = invoke(capsys, "predict", cell, "--model", path, "--threads", 1, "--json")
    expected = positive_probability(5)
    (prediction,) = outcome.document["predictions"]
    assert outcome.status == 0
    assert prediction["probabilities"]["Parasitized"] == pytest.approx(expected, abs=1e-5)
    assert prediction["probability"] == pytest.approx(max(expected, 1 - expected), abs=1e-5)
    assert prediction["label"] == artifacts.LABELS[expected < 0.5]
    assert prediction["positive"] is (expected >= 0.5)
    assert prediction["image"] == str(cell)
    assert outcome.document["model"] == str(path)
    assert (
        outcome.document["engine"] == {"onnx": "onnxruntime", "tflite": "litert"}[path.suffix[1:]]
    )
    assert outcome.document["threads"] == 1
    assert outcome.document["skipped"] == []


def test_folder_gives_its_images_sorted_without_hidden_ones(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cells, "--model", model, "--json")
    found = [prediction["image"] for prediction in outcome.document["predictions"]]
    assert found == [str(cells / "a/c.PNG"), str(cells / "b.png")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipe_in_a_folder_is_passed_over_and_not_waited_for(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(cells / "pipe.png")
    outcome = invoke(capsys, "predict", cells, "--model", model, "--json")
    assert outcome.status == 0
    assert len(outcome.document["predictions"]) == 2


def test_lines_name_image_label_probability_and_decision(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cells, "--model", model)
    head, first, second = outcome.out.splitlines()
    expected = positive_probability(1)
    assert head.split() == ["image", "label", "probability", "positive"]
    assert first.split() == [
        str(cells / "a/c.PNG"),
        artifacts.LABELS[expected < 0.5],
        f"{max(expected, 1 - expected):.4f}",
        "yes" if expected >= 0.5 else "no",
    ]
    assert second.startswith(str(cells / "b.png"))
    positive = sum(line.split()[-1] == "yes" for line in (first, second))
    assert f"2 images: {positive} positive (Parasitized from 0.5 on); likeliest" in outcome.err


def test_decision_is_left_out_when_there_is_no_positive_label(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = dataclasses.replace(artifacts.tiny_manifest("onnx"), positive_label=None)
    path = seal(tmp_path / "plain.onnx", manifest)
    outcome = invoke(capsys, "predict", cells, "--model", path)
    document = invoke(capsys, "predict", cells, "--model", path, "--json").document
    assert outcome.out.splitlines()[0].split() == ["image", "label", "probability"]
    assert [prediction["positive"] for prediction in document["predictions"]] == [None, None]


def test_decision_is_made_at_the_threshold_of_the_artifact(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = []
    for threshold in (0.0, 1.0):
        manifest = dataclasses.replace(artifacts.tiny_manifest("onnx"), threshold=threshold)
        path = seal(tmp_path / "model.onnx", manifest)
        document = invoke(capsys, "predict", cells, "--model", path, "--json").document
        decisions.append([prediction["positive"] for prediction in document["predictions"]])
    assert decisions == [[True, True], [False, False]]


def test_bad_image_is_named_and_skipped_with_status_3(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_file(cells / "bad.png")
    outcome = invoke(capsys, "-q", "predict", cells, "missing.png", "--model", model, "--json")
    assert outcome.status == 3
    assert len(outcome.document["predictions"]) == 2
    first, second = outcome.document["skipped"]
    assert first["image"] == str(bad)
    assert first["reason"].startswith(f"{bad} is not an image that can be read")
    assert second == {
        "image": "missing.png",
        "reason": "There is no file missing.png; check the path.",
    }
    assert f"Skipped: {first['reason']}" in outcome.err


def test_image_without_permission_is_skipped_as_any_bad_one(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = write_file(cells / "locked.png")
    monkeypatch.setattr(os, "access", lambda *_: False)
    outcome = invoke(capsys, "predict", locked, cells / "b.png", "--model", model, "--json")
    assert outcome.status == 3
    assert f"Skipped: {locked}" in outcome.err


def test_strict_stops_at_the_first_bad_image(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_file(cells / "a/a.png")
    outcome = invoke(capsys, "predict", cells, "--model", model, "--strict")
    assert (outcome.status, outcome.out) == (1, "")
    assert f"Error: {bad} is not an image" in outcome.err
    assert "--strict" in outcome.err


def test_command_fails_when_no_image_can_be_read(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path / "x.png")
    write_file(tmp_path / "y.png")
    outcome = invoke(
        capsys, "predict", tmp_path / "x.png", tmp_path / "y.png", "--model", model, "--json"
    )
    assert (outcome.status, outcome.out) == (1, "")
    assert "Error: Not one of 2 images could be read" in outcome.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "Error: There is no file nowhere; check the path.\n"),
        ("x.png", "Error: x.png is not an image that can be read"),
    ],
)
def test_only_image_that_cannot_be_read_is_named_once_with_the_reason(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path / "x.png")
    outcome = invoke(capsys, "predict", given, "--model", model)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(message)
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["tiny.onnx", "missing.tflite", "folder.savedmodel"])
def test_artifact_among_the_images_is_refused_with_the_option_for_it(
    cells: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    outcome = invoke(capsys, "predict", name, cells)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"expected it after --model: edgecell predict --model {name} IMAGES" in outcome.err


def test_artifact_among_the_images_of_a_model_is_skipped_as_no_image(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cells, model, "--model", model, "--json")
    assert outcome.status == 3
    assert [each["image"] for each in outcome.document["skipped"]] == [str(model)]


def test_command_fails_when_a_folder_holds_no_image(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path / "texts/a.txt")
    outcome = invoke(capsys, "predict", tmp_path / "texts", "--model", model)
    assert outcome.status == 1
    assert "texts holds no images; expected files that end in one of .bmp" in outcome.err


def test_csv_has_one_row_an_image_with_all_digits(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(cells / "bad.png")
    table = tmp_path / "out/predictions.csv"
    outcome = invoke(capsys, "predict", cells, "--model", model, "--output", table, "--json")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert outcome.status == 3
    assert len(rows) == 3
    answered = [row for row in rows if not row["error"]]
    for row, prediction in zip(answered, outcome.document["predictions"], strict=True):
        assert row["image"] == prediction["image"]
        assert row["label"] == prediction["label"]
        assert float(row["probability"]) == prediction["probability"]
        assert float(row["p(Uninfected)"]) == prediction["probabilities"]["Uninfected"]
        assert row["positive"] == ("yes" if prediction["positive"] else "no")
    (skipped,) = [row for row in rows if row["error"]]
    assert skipped["image"] == str(cells / "bad.png")
    assert skipped["error"] == outcome.document["skipped"][0]["reason"]
    assert skipped["label"] == skipped["probability"] == skipped["p(Uninfected)"] == ""
    assert list(skipped)[-2:] == ["model", "error"]


def test_name_that_is_no_text_is_shown_escaped(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Path(os.fsdecode(os.fsencode(cells) + b"/z\xff.png"))
    write_cell(odd, 3)
    outcome = invoke(capsys, "predict", cells, "--model", model, "--json")
    assert outcome.status == 0
    assert outcome.document["predictions"][-1]["image"] == f"{cells}/z\\udcff.png"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.onnx", "There is no artifact"),
        ("cells", "is a folder without a saved_model.pb"),
        ("cells/b.png", "is neither TFLite nor ONNX"),
    ],
)
def test_model_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str], given: str, message: str
) -> None:
    outcome = invoke(capsys, "predict", cells, "--model", tmp_path / given)
    assert (outcome.status, outcome.out) == (1, "")
    assert message in outcome.err


def test_drawn_cells_are_said_when_the_model_was_trained_on_them(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = artifacts.tiny_manifest("onnx")
    drawn = dataclasses.replace(manifest.source, drawn=True)
    path = seal(tmp_path / "drawn.onnx", dataclasses.replace(manifest, source=drawn))
    assert "trained on drawn cells" in invoke(capsys, "predict", cells, "--model", path).err


@pytest.mark.parametrize(
    "arguments",
    [(), ("--threads", "0", "cell.png"), ("--output", "x.txt", "cell.png"), ("--nonsense",)],
)
def test_wrong_usage_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert invoke(capsys, "predict", *arguments).status == 2


def _in_a_process(*arguments: object) -> tuple[Outcome, dict[str, object]]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Outcome(0, done.stdout, done.stderr), json.loads(done.stdout.splitlines()[-1])


@BOTH
def test_predict_loads_no_heavy_library_and_is_silent(
    tmp_path: Path, cells: Path, artifact_format: Format
) -> None:
    model = artifacts.write_artifact(tmp_path, artifact_format)
    outcome, answer = _in_a_process("-q", "predict", cells, "--model", model)
    loaded = answer["loaded"]
    assert answer["status"] == 0
    assert isinstance(loaded, list)
    assert not HEAVY & set(loaded)
    assert outcome.err == ""


def test_predict_loads_no_heavy_library_when_it_finds_the_latest_run(
    tmp_path: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest_run(tmp_path / "runs", ("onnx", "float32"))
    monkeypatch.chdir(tmp_path)
    _, answer = _in_a_process("predict", cells)
    loaded = answer["loaded"]
    assert answer["status"] == 0
    assert isinstance(loaded, list)
    assert not HEAVY & set(loaded)
