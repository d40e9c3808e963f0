import shutil
from pathlib import Path

import pytest
from support.command_line import invoke, latest_run


def test_bench_says_what_to_do_where_the_images_of_the_run_are_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    shutil.rmtree(run.folder / "images")
    outcome = invoke(capsys, "bench", run.exports / "tiny-float32.onnx", "--json")
    assert (outcome.status, outcome.out) == (1, "")
    assert "--data" in outcome.err


def test_bench_of_what_is_no_artifact_says_only_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "bench", tmp_path / "missing.onnx")
    assert outcome.status == 1
    assert "There is no artifact" in outcome.err
    assert "Note:" not in outcome.err
