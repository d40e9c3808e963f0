"""Which artifact ``edgecell predict`` takes where none is named."""

from pathlib import Path

import pytest
from support.command_line import invoke, latest_run, write_cell, write_file

from edgecell_runtime.manifest import Format


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    write_cell(tmp_path / "cells/a.png", 0)
    return tmp_path / "cells"


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        ([("onnx", "float32"), ("tflite", "static_int8"), ("tflite", "float32")], 2),
        ([("onnx", "static_int8"), ("tflite", "static_int8"), ("onnx", "float32")], 2),
        ([("onnx", "float16"), ("onnx", "static_int8"), ("tflite", "static_int8")], 2),
        ([("onnx", "float16"), ("onnx", "static_int8")], 1),
        ([("tflite", "float16")], 0),
    ],
)
def test_preferred_artifact_of_the_latest_run_is_taken_and_named(
    tmp_path: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kinds: list[tuple[Format, str]],
    taken: int,
) -> None:
    run = latest_run(tmp_path / "runs", *kinds)
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "predict", cells, "--json")
    form, recipe = kinds[taken]
    expected = run.exports / f"tiny-{recipe}.{form}"
    assert outcome.document["model"] == str(expected)
    assert f"Model: {expected}" in outcome.err


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_run_in_place_of_an_artifact_is_refused_with_its_artifacts(
    command: str, tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    options = () if command == "inspect" else ("--data", cells)
    outcome = invoke(capsys, command, run.folder, *options)
    assert outcome.status == 1
    assert "is a run; expected an artifact of its exports folder: tiny-float32.onnx." in outcome.err


def test_damaged_artifact_of_the_latest_run_is_named_and_passed_over(
    tmp_path: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    damaged = write_file(run.exports / "first.tflite")
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "predict", cells, "--json")
    assert outcome.document["model"].endswith("tiny-float32.onnx")
    assert f"{damaged} is refused" in outcome.err


def test_command_says_what_to_do_when_there_is_nothing_to_predict_with(
    tmp_path: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latest_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "predict", cells)
    assert outcome.status == 1
    assert "has no usable artifact; run `edgecell export`" in outcome.err
    assert "--model" in outcome.err
