"""What every command does with the streams, signals and names of files that it is given."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifacts
from support.command_line import invoke, write_cell, write_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return write_cell(tmp_path / "cell.png", 0)


def test_folder_that_has_the_name_of_the_output_is_refused_and_kept(
    model: Path, cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = write_file(tmp_path / "out.json" / "kept")
    outcome = invoke(capsys, "predict", cell, "--model", model, "--output", kept.parent)
    assert (outcome.status, outcome.out) == (2, "")
    assert "out.json is a folder" in outcome.err
    assert kept.is_file()


@pytest.mark.parametrize("command", ["predict", "train", "export"])
def test_output_below_a_file_is_refused_before_the_work(
    command: str, cell: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = () if command == "train" else (cell,)
    outcome = invoke(capsys, command, *arguments, "--output", cell / "x.json")
    assert (outcome.status, outcome.out) == (1, "")
    assert f"{cell} is no folder. Choose another place." in outcome.err


@pytest.mark.parametrize("threads", ["0", "1025", "99999999999999999999"])
def test_threads_beyond_reason_are_wrong_usage(
    threads: str, model: Path, cell: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cell, "--model", model, "--threads", threads)
    assert outcome.status == 2
    assert "--threads" in outcome.err


@pytest.mark.parametrize("closed", [1, 2])
def test_command_works_where_a_standard_stream_is_closed(
    closed: int, model: Path, cell: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    words = (sys.executable, "-m", "edgecell", "predict", cell, "--model", model)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}>&-', "sh", *map(str, words), "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert output.is_file()


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGHUP")
def test_hang_up_that_nohup_ignores_stays_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        invoke(capsys, "--version")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, kept)
