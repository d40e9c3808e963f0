"""``edgecell predict`` ended from outside: killed, out of space, nobody reading."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifacts
from support.command_line import invoke, write_cell, write_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX's")

KILLED_AT_A_POINT = """
import os, pathlib, signal, sys
from edgecell.cli import run
from edgecell.tasks.result_log import ResultLog

point, rows = sys.argv[1], int(sys.argv[2])
write, replace = ResultLog._write, pathlib.Path.replace
written = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def write_and_die(log, data):
    global written
    if written == rows and point == "before":
        die()
    if written == rows and point == "amid":
        os.write(log._descriptor, data[: len(data) // 2])
        die()
    write(log, data)
    written += 1

def replace_and_die(path, target):
    if point == "unnamed":
        die()
    replace(path, target)
    if point == "named":
        die()

ResultLog._write = write_and_die
pathlib.Path.replace = replace_and_die
sys.exit(run(sys.argv[3:]))
"""
POINTS = [("before", 0), ("amid", 0), ("before", 1), ("amid", 7), ("before", 20), ("unnamed", 0)]
POINTS += [("named", 0)]
WAIT_SECONDS = 60


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    for seed in range(30):
        write_cell(folder / f"{seed:02}.png", seed)
    write_file(folder / "05-bad.png")
    return folder


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_killed_run_is_resumed_to_what_a_whole_one_writes(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    whole = tmp_path / f"whole{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", whole)
    for point, rows in POINTS:
        log = tmp_path / f"{point}-{rows}{suffix}"
        log.write_bytes(b"older")
        arguments = ("predict", cells, "--model", model, "--output", log)
        process = start(KILLED_AT_A_POINT, point, rows, *arguments)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        if point != "named":
            assert log.read_bytes() == b"older"
        assert Path(f"{log}.part").exists() is (point != "named")
        outcome = invoke(capsys, *arguments, "--resume")
        assert outcome.status == 3
        assert log.read_bytes() == whole.read_bytes(), (point, rows)


def test_run_that_is_killed_again_and_again_comes_to_its_end(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, log = tmp_path / "whole.csv", tmp_path / "log.csv"
    invoke(capsys, "predict", cells, "--model", model, "--output", whole)
    arguments = ("predict", cells, "--model", model, "--output", log, "--resume")
    for rows in (3, 9, 0, 11):
        process = start(KILLED_AT_A_POINT, "amid", rows, *arguments)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert invoke(capsys, *arguments).status == 3
    assert log.read_bytes() == whole.read_bytes()


def test_terminated_run_keeps_its_rows_and_says_so(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = KILLED_AT_A_POINT.replace("SIGKILL", "SIGTERM")
    log = tmp_path / "log.csv"
    arguments = ("predict", cells, "--model", model, "--output", log)
    process = start(program, "before", 10, *arguments)
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert errors.splitlines()[-1:] == [
        f"Error: Interrupted; {log}.part keeps what was answered. Go on with it by --resume."
    ]
    assert errors.count("Interrupted") == errors.count(" keeps ") == 1
    assert not log.exists()
    invoke(capsys, *arguments, "--resume")
    assert len(log.read_text().splitlines()) == 32


LIMITED = """
import resource, signal, sys
from edgecell.cli import run

status = 0
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), hard))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_full_disk_is_said_in_a_sentence_and_the_run_can_be_resumed(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    whole, log = tmp_path / f"whole{suffix}", tmp_path / f"log{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", whole)
    arguments = ("predict", cells, "--model", model, "--output", log)
    process = start(LIMITED, len(whole.read_bytes()) // 2, *arguments)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert f"Error: {log}.part could not be written: File too large." in errors
    assert "Traceback" not in errors
    assert not log.exists()
    assert invoke(capsys, *arguments, "--resume").status == 3
    assert log.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("form", ["--json-lines", "--strict", "--json"])
def test_command_ends_quietly_when_nobody_reads(model: Path, cells: Path, form: str) -> None:
    (cells / "05-bad.png").unlink()
    reader, writer = os.pipe()
    os.close(reader)
    command = (sys.executable, "-m", "edgecell", "predict", cells, "--model", model, form)
    done = subprocess.run(
        [str(word) for word in command],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_log_is_kept_and_named_when_nobody_reads(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    arguments = ("predict", cells, "--model", model, "--output", log)
    with subprocess.Popen(
        [sys.executable, "-m", "edgecell", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert f"{log}.part keeps what was answered" in errors
    assert "Error" not in errors
    assert invoke(capsys, *arguments, "--resume").status == 3
    assert len(log.read_text().splitlines()) == 32


def test_interrupted_run_without_a_log_says_that_nothing_was_left(model: Path, cells: Path) -> None:
    program = """
import os, signal, sys
from edgecell.cli import run
from edgecell.tasks.predicting_output import LinesForMachines

LinesForMachines.show = lambda self, outcome: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(run(sys.argv[1:]))
"""
    process = start(program, "predict", cells, "--model", model, "--json-lines")
    _, errors = process.communicate()
    assert (process.returncode, errors) == (
        143,
        "Error: Interrupted; no file was left half written.\n",
    )
