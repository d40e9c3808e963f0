"""``edgecell predict`` on terminals, and how much of its work it holds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from support import artifacts
from support.command_line import invoke, write_cell, write_file

from edgecell.tasks.answers import ImageFile, classify
from edgecell_runtime.bulk import CHUNK
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.proving import EngineTrial
from edgecell_runtime.threads import allowed_cpus

COUNT = 25
"""More than a progress bar is kept for."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    for seed in range(COUNT):
        write_cell(tmp_path / f"cells/{seed:02}.png", seed)
    return tmp_path / "cells"


def on_a_terminal(output: Path | None, *arguments: object) -> str:
    """Runs the command with standard error, or both streams, on a terminal; gives what it shows."""
    master, slave = pytest.importorskip("pty").openpty()
    command = [sys.executable, "-m", "edgecell", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with (output or Path(os.devnull)).open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file if output else slave, stderr=slave, env=environment
        )
    os.close(slave)
    shown = b"".join(_blocks(master))
    os.close(master)
    assert process.wait() == 0
    return shown.decode()


def _blocks(descriptor: int) -> Iterator[bytes]:
    try:
        while block := os.read(descriptor, 1 << 16):
            yield block
    except OSError:  # so Linux says that the other end is closed
        return


def test_progress_bar_on_the_terminal_leaves_redirected_output_alone(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = on_a_terminal(tmp_path / "out.txt", "predict", cells, "--model", model)
    expected = invoke(capsys, "predict", cells, "--model", model).out
    assert (tmp_path / "out.txt").read_text() == expected
    assert "Classifying" in shown
    assert "00.png" not in shown


def test_lines_on_the_terminal_are_progress_enough(model: Path, cells: Path) -> None:
    shown = on_a_terminal(None, "predict", cells, "--model", model)
    assert "Classifying" not in shown
    assert shown.count(".png") == COUNT


def test_image_column_is_as_wide_as_the_longest_name_from_the_first_line_on(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cell(cells / "zz-a-much-longer-name.png", 0)
    lines = invoke(capsys, "predict", cells, "--model", model).out.splitlines()
    assert len({max(line.rfind(" yes"), line.rfind(" no")) for line in lines[1:]}) == 1


def test_summary_names_engine_sessions_and_threads(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cells, "--model", model, "--threads", 2)
    assert "Engine: onnxruntime, 1 session of 2 threads." in outcome.err


def test_engine_that_was_passed_over_is_said_once(
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_artifact = Classifier.of_artifact

    def with_another(*arguments: object, **options: object) -> Classifier:
        classifier = cast(Classifier, of_artifact(*arguments, **options))  # type: ignore[arg-type]
        refused = EngineTrial("wrong", "1.0", False, "It answers differently.")
        classifier.engine_report = (refused, *classifier.engine_report)
        return classifier

    monkeypatch.setattr(Classifier, "of_artifact", with_another)
    outcome = invoke(capsys, "predict", cells, "--model", model)
    assert outcome.err.count("The engine wrong was passed over: It answers differently.") == 1


def test_no_more_than_a_few_dozen_images_are_on_their_way(model: Path, cells: Path) -> None:
    taken = 0

    def files() -> Iterator[ImageFile]:
        nonlocal taken
        for number in range(2_000):
            taken += 1
            yield ImageFile(f"{number}", cells / f"{number % COUNT:02}.png")

    ahead = 0
    with Classifier.open(model, threads=1) as classifier:
        for given, _ in enumerate(classify(classifier, files()), start=1):
            ahead = max(ahead, taken - given)
    assert (taken, given) == (2_000, 2_000)
    assert ahead <= CHUNK * (2 * allowed_cpus() + 2)


def test_answers_before_the_one_that_strict_stops_at_were_printed(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(cells / "99-bad.png")
    outcome = invoke(capsys, "predict", cells, "--model", model, "--strict")
    assert outcome.status == 1
    assert outcome.out.count(".png") == COUNT
