"""What ``edgecell predict`` writes as answers come, and goes on with."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifacts
from support.command_line import invoke, seal, write_cell, write_file

from edgecell.tasks.answers import Skipped
from edgecell.tasks.result_log import ResultLog

LOGS = pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
COUNT = 30


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    for seed in range(COUNT):
        write_cell(folder / f"{seed:02}.png", seed)
    write_file(folder / "15-bad.png")
    return folder


def rows_of(log: Path) -> list[dict[str, object]]:
    text = log.read_text(encoding="utf-8")
    if log.suffix == ".csv":
        return [dict(row) for row in csv.DictReader(text.splitlines())]
    return [json.loads(line) for line in text.splitlines()]


@LOGS
def test_log_has_a_row_for_each_image_the_skipped_ones_too(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    outcome = invoke(capsys, "predict", cells, "--model", model, "--output", log)
    rows = rows_of(log)
    assert outcome.status == 3
    assert [row["image"] for row in rows] == [str(path) for path in sorted(cells.iterdir())]
    (bad,) = [row for row in rows if row.get("error")]
    assert str(bad["error"]).startswith(f"{cells / '15-bad.png'} is not an image")
    assert len({row["model"] for row in rows}) == 1
    assert not Path(f"{log}.part").exists()
    assert list(tmp_path.glob(".*")) == []


def test_json_lines_are_what_a_log_of_them_holds(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    outcome = invoke(capsys, "predict", cells, "--model", model, "--json-lines", "--output", log)
    assert outcome.out == log.read_text(encoding="utf-8")
    first = json.loads(outcome.out.splitlines()[0])
    assert list(first) == [
        *("image", "label", "probability", "probabilities", "positive"),
        "model",
    ]
    assert [set(row) for row in rows_of(log) if "error" in row] == [{"image", "error", "model"}]


@LOGS
def test_resumed_log_keeps_its_rows_and_adds_the_others(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    whole, log = tmp_path / f"whole{suffix}", tmp_path / f"log{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    Path(f"{log}.part").write_bytes(b"".join(lines[:20]) + lines[20][:-5])
    log.write_bytes(b"what an older run left")
    outcome = invoke(
        capsys, "predict", cells, "--model", model, "--output", log, "--resume", "--json-lines"
    )
    assert outcome.status == 3
    assert log.read_bytes() == whole.read_bytes()
    assert len(outcome.out.splitlines()) == COUNT + 1 - (20 - (suffix == ".csv"))
    assert f"{20 - (suffix == '.csv')} were there already" in outcome.err
    assert "30 images" in outcome.err


@LOGS
def test_row_that_was_cut_off_leaves_nothing_when_its_image_is_gone(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    arguments = ("predict", cells, "--model", model, "--output", log)
    invoke(capsys, *arguments)
    data = log.read_bytes()
    log.rename(f"{log}.part").write_bytes(data[:-5])
    (cells / f"{COUNT - 1}.png").unlink()
    invoke(capsys, *arguments, "--resume")
    assert log.read_bytes() == b"".join(data.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_older_log_stays_when_not_one_image_could_be_read(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    log = write_file(tmp_path / "log.csv", b"older")
    names = write_file(tmp_path / "names", content)
    with names.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        outcome = invoke(capsys, "predict", "-", "--model", model, "--output", log)
    assert outcome.status == 1
    assert log.read_bytes() == b"older"
    assert Path(f"{log}.part").exists() is bool(content)


@LOGS
def test_finished_log_is_gone_on_with_when_images_were_added(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    arguments = ("predict", cells, "--model", model, "--output", log, "--resume")
    invoke(capsys, *arguments)
    before = log.read_bytes()
    write_cell(cells / "00-new.png", 99)
    invoke(capsys, *arguments)
    assert log.read_bytes().startswith(before)
    assert [row["image"] for row in rows_of(log)][-1] == str(cells / "00-new.png")
    assert len(rows_of(log)) == COUNT + 2


@LOGS
def test_resuming_a_finished_run_changes_nothing_and_has_its_status(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    arguments = ("predict", cells, "--model", model, "--output", log, "--resume")
    assert invoke(capsys, *arguments).status == 3
    before = log.read_bytes()
    outcome = invoke(capsys, *arguments)
    assert (outcome.status, outcome.out) == (3, "")
    assert log.read_bytes() == before


def test_part_of_an_earlier_run_is_replaced_with_a_sentence(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    part = write_file(Path(f"{log}.part"))
    outcome = invoke(capsys, "predict", cells, "--model", model, "--output", log)
    assert f"{part} of an earlier run is replaced; --resume would have kept it" in outcome.err
    assert len(rows_of(log)) == COUNT + 1


@LOGS
def test_log_of_another_model_is_not_gone_on_with(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", log)
    before = log.read_bytes()
    other = artifacts.write_artifact(tmp_path, "tflite")
    outcome = invoke(capsys, "predict", cells, "--model", other, "--output", log, "--resume")
    assert (outcome.status, outcome.out) == (1, "")
    assert "the model " in outcome.err
    assert log.read_bytes() == before
    assert not Path(f"{log}.part").exists()


@LOGS
def test_log_of_other_images_is_not_gone_on_with(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    log = tmp_path / f"log{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", log)
    before = log.read_bytes()
    other = write_cell(tmp_path / "other/a.png", 1)
    arguments = ("predict", other.parent, "--model", model, "--output", log, "--resume")
    for part in (False, True):
        if part:
            log.rename(f"{log}.part")
        outcome = invoke(capsys, *arguments)
        assert (outcome.status, outcome.out) == (1, "")
        assert f"not one of the {COUNT + 1} images in it, such as {cells}/00.png" in outcome.err
        assert Path(f"{log}.part").exists() is part
        assert (Path(f"{log}.part") if part else log).read_bytes() == before


def test_kept_rows_of_images_that_are_not_named_are_counted(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    arguments = ("--model", model, "--output", log, "--resume")
    invoke(capsys, "predict", cells, *arguments)
    outcome = invoke(capsys, "predict", cells / "00.png", cells / "01.png", *arguments)
    assert f"{COUNT - 1} rows are of images not named this time; {log} keeps them." in outcome.err
    assert len(rows_of(log)) == COUNT + 1
    assert "not named this time" not in invoke(capsys, "predict", cells, *arguments).err


def test_part_of_an_earlier_run_stays_when_it_is_not_gone_on_with(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    part = write_file(Path(f"{log}.part"), b"an older run's\n")
    outcome = invoke(capsys, "predict", cells, "--model", model, "--output", log, "--resume")
    assert outcome.status == 1
    assert part.read_bytes() == b"an older run's\n"


OTHERS = [
    (".csv", "image,label,probability\na,b,0.5\n", "has the columns image, label, probability"),
    (".csv", "one line and no end", "line 1 is no row"),
    (".jsonl", "one line and no end", "line 1 is no row"),
    (".jsonl", "{}\n", "line 1 is no row"),
    (".jsonl", "no json\n{", "line 1 is no row"),
    (".jsonl", '{"image":"a.png","label":"b"}\n', "the model None wrote it"),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("watching", [False, True])
def test_file_of_something_else_is_neither_gone_on_with_nor_touched(
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    other: tuple[str, str, str],
    watching: bool,
) -> None:
    suffix, content, message = other
    log = write_file(cells.parent / f"log{suffix}", content.encode())
    arguments = ("--watch", cells) if watching else (cells, "--resume")
    outcome = invoke(capsys, "predict", *arguments, "--model", model, "--output", log)
    assert (outcome.status, outcome.out) == (1, "")
    assert message in outcome.err
    assert log.read_text() == content


def test_damaged_row_in_the_midst_is_named_by_its_line(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    arguments = ("predict", cells, "--model", model, "--output", log)
    invoke(capsys, *arguments)
    lines = log.read_bytes().splitlines(keepends=True)
    lines[3] = b"a,b\n"
    log.write_bytes(b"".join(lines))
    outcome = invoke(capsys, *arguments, "--resume")
    assert outcome.status == 1
    assert "its line 4 is no row" in outcome.err


@pytest.mark.skipif(os.name != "posix", reason="names cannot hold line breaks")
@LOGS
def test_name_with_line_break_and_quote_survives_a_cut_inside_it(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    write_cell(cells / 'zz"1\n2,\r3.png', 40)
    whole, log = tmp_path / f"whole{suffix}", tmp_path / f"log{suffix}"
    invoke(capsys, "predict", cells, "--model", model, "--output", whole)
    data = whole.read_bytes()
    for cut in range(data.rindex(b"zz"), len(data) + 1):
        Path(f"{log}.part").write_bytes(data[:cut])
        arguments = ("predict", cells, "--model", model, "--output", log, "--resume")
        assert invoke(capsys, *arguments).status == 3
        assert log.read_bytes() == data


@pytest.mark.skipif(os.name != "posix", reason="names cannot hold line breaks")
@LOGS
def test_carriage_return_in_a_name_forges_no_row_and_is_resumed(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    write_cell(cells / "zz.png\rforged.png,Uninfected\r.png", 40)
    log = tmp_path / f"log{suffix}"
    arguments = ("predict", cells, "--model", model, "--output", log)
    invoke(capsys, *arguments)
    before = log.read_bytes()
    assert b"\r" not in before
    assert len(rows_of(log)) == COUNT + 2
    assert rows_of(log)[-1]["image"] == rf"{cells}/zz.png\rforged.png,Uninfected\r.png"
    outcome = invoke(capsys, *arguments, "--resume")
    assert (outcome.status, outcome.out) == (3, "")
    assert log.read_bytes() == before


@LOGS
def test_second_process_is_refused_while_one_writes(
    tmp_path: Path,
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    pytest.importorskip("fcntl")
    log = tmp_path / f"log{suffix}"
    program = "import sys; from edgecell.cli import run; sys.exit(run(sys.argv[1:]))"
    seconds = []
    add = ResultLog.add

    def add_beside_another(self: ResultLog, outcome: Skipped) -> None:
        if not seconds:
            arguments = ("predict", cells, "--model", model, "--output", log)
            command = [sys.executable, "-c", program, *map(str, arguments)]
            seconds.append(subprocess.run(command, capture_output=True, text=True, check=False))
        add(self, outcome)

    monkeypatch.setattr(ResultLog, "add", add_beside_another)
    outcome = invoke(capsys, "predict", cells, "--model", model, "--output", log)
    assert outcome.status == 3
    assert len(rows_of(log)) == COUNT + 1
    assert seconds[0].returncode == 1
    assert f"{log} is being written by another edgecell" in seconds[0].stderr


def test_older_file_stays_while_the_run_lasts(
    tmp_path: Path,
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = write_file(tmp_path / "log.csv", b"older")
    seen = set()
    add = ResultLog.add
    monkeypatch.setattr(
        ResultLog, "add", lambda self, outcome: (add(self, outcome), seen.add(log.read_bytes()))
    )
    invoke(capsys, "predict", cells, "--model", model, "--output", log)
    assert seen == {b"older"}
    assert len(rows_of(log)) == COUNT + 1


def test_strict_leaves_the_rows_before_and_resumes_at_the_mended_image(
    tmp_path: Path, model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    arguments = ("predict", cells, "--model", model, "--output", log, "--strict")
    assert invoke(capsys, *arguments).status == 1
    assert not log.exists()
    assert len(Path(f"{log}.part").read_text().splitlines()) == 1 + 15
    write_cell(cells / "15-bad.png", 50)
    assert invoke(capsys, *arguments, "--resume").status == 0
    assert [row["image"] for row in rows_of(log)] == [str(path) for path in sorted(cells.iterdir())]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", "--json-lines"), "contradict"),
        (("--resume",), "--resume needs an --output"),
        (("--resume", "--output", "x.json"), "--resume needs an --output"),
        (("--resume", "--json", "--output", "x.csv"), "--json would hold"),
        (("--watch", "."), "one of them is expected"),
        (("--output", "x.txt"), "expected one of .csv, .jsonl, .json"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    outcome = invoke(capsys, "predict", cells, "--model", model, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err


def test_engine_that_cannot_start_leaves_no_part(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = artifacts.tiny_manifest("onnx")
    path = seal(tmp_path / "tiny.onnx", manifest)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    log = tmp_path / "log.csv"
    outcome = invoke(capsys, "predict", cells, "--model", path, "--output", log)
    assert outcome.status == 1
    assert list(tmp_path.glob("*log*")) == []
