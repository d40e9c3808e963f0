"""What ``edgecell predict`` takes as images."""

import os
import select
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from support import artifacts
from support.command_line import Outcome, invoke, write_cell, write_file

WAIT_SECONDS = 60
"""How long a test that would hang is given before it fails."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three cells in two folders and a text."""
    folder = tmp_path / "work"
    write_cell(folder / "cells/b.png", 0)
    write_cell(folder / "cells/a/c.PNG", 1)
    write_cell(folder / "cells/a/deep/d.png", 2)
    write_file(folder / "cells/notes.txt")
    monkeypatch.chdir(folder)
    return folder / "cells"


def images(outcome: Outcome) -> list[str]:
    return [prediction["image"] for prediction in outcome.document["predictions"]]


def zipped(path: Path, cells: dict[str, int], texts: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, seed in cells.items():
            archive.write(write_cell(path.parent / "member.png", seed), name)
        for name in texts:
            archive.writestr(name, b"no image")
    (path.parent / "member.png").unlink(missing_ok=True)
    return path


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Gives the process a standard input."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader, "rb"))


@pytest.fixture(autouse=True)
def close_standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = sys.stdin
    yield
    if sys.stdin is not before:
        sys.stdin.close()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("cells/*", ["cells/a/c.PNG", "cells/a/deep/d.png", "cells/b.png"]),
        ("cells/*.png", ["cells/b.png"]),
        ("cells/**/*.png", ["cells/a/deep/d.png", "cells/b.png"]),
        ("cells/**", ["cells/a/c.PNG", "cells/a/deep/d.png", "cells/b.png"]),
    ],
)
@pytest.mark.usefixtures("cells")
def test_pattern_stands_for_the_images_it_matches(
    model: Path, capsys: pytest.CaptureFixture[str], pattern: str, expected: list[str]
) -> None:
    outcome = invoke(capsys, "predict", pattern, "--model", model, "--json")
    assert (outcome.status, images(outcome)) == (0, expected)
    assert "more than once" not in outcome.err


def test_file_that_is_called_as_a_pattern_is_taken_as_a_file(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cell(cells / "[b].png", 3)
    outcome = invoke(capsys, "predict", "cells/[b].png", "--model", model, "--json")
    assert images(outcome) == ["cells/[b].png"]


@pytest.mark.usefixtures("cells")
def test_pattern_that_matches_nothing_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", "cells/*.tif", "--model", model)
    assert (outcome.status, outcome.out) == (1, "")
    assert "cells/*.tif matches no images" in outcome.err


@pytest.mark.parametrize("name", ["cells.zip", "archive"])
@pytest.mark.usefixtures("cells")
def test_zip_gives_its_images_as_a_folder_would(
    model: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    texts = ("notes.txt", "__MACOSX/._b.png", ".hidden/e.png")
    zipped(Path(name), {"b.png": 0, "a/c.PNG": 1}, texts)
    outcome = invoke(capsys, "predict", name, "--model", model, "--json")
    assert (outcome.status, images(outcome)) == (0, [f"{name}/a/c.PNG", f"{name}/b.png"])
    folder = invoke(capsys, "predict", "cells/a/c.PNG", "cells/b.png", "--model", model, "--json")
    pairs = zip(outcome.document["predictions"], folder.document["predictions"], strict=True)
    assert all(one["probabilities"] == other["probabilities"] for one, other in pairs)


@pytest.mark.usefixtures("cells")
def test_damaged_member_of_a_zip_is_skipped_with_the_name_of_both(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped(Path("cells.zip"), {"b.png": 0}, ("bad.png",))
    outcome = invoke(capsys, "predict", "cells.zip", "--model", model, "--json")
    (skipped,) = outcome.document["skipped"]
    assert outcome.status == 3
    assert skipped["reason"].startswith("cells.zip/bad.png is not an image that can be read")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"PK\x03\x04 cut short", "damaged or truncated zip"), (b"", "neither a folder nor a zip")],
)
@pytest.mark.usefixtures("cells")
def test_zip_that_cannot_be_listed_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    write_file(Path("cells.zip"), data)
    outcome = invoke(capsys, "predict", "cells", "cells.zip", "--model", model)
    assert (outcome.status, outcome.out) == (1, "")
    assert message in outcome.err


@pytest.mark.usefixtures("cells")
def test_zip_without_an_image_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped(Path("cells.zip"), {}, ("a.txt",))
    outcome = invoke(capsys, "predict", "cells.zip", "--model", model)
    assert outcome.status == 1
    assert "cells.zip holds no images" in outcome.err


@pytest.mark.usefixtures("cells")
def test_many_zips_do_not_stay_open(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    names = [str(zipped(Path(f"{i}.zip"), {"b.png": i})) for i in range(300)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        outcome = invoke(capsys, "predict", *names, "--model", model, "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert images(outcome) == [f"{name}/b.png" for name in names]


@pytest.mark.usefixtures("cells")
def test_image_that_is_named_twice_is_classified_once(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("cells/b.png", "cells", "./cells/b.png")
    outcome = invoke(capsys, "predict", *arguments, "--model", model, "--json")
    assert images(outcome) == ["cells/b.png", "cells/a/c.PNG", "cells/a/deep/d.png"]
    assert "2 images were named more than once" in outcome.err


@pytest.mark.usefixtures("cells")
def test_current_folder_gives_names_without_a_dot(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", ".", "--model", model, "--json")
    assert images(outcome) == ["cells/a/c.PNG", "cells/a/deep/d.png", "cells/b.png"]


@pytest.mark.usefixtures("cells")
def test_standard_input_names_files_folders_and_zips(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(Path("more.zip"), {"z.png": 5})
    feed(monkeypatch, b"cells/b.png\n\ncells/a\nmore.zip")
    outcome = invoke(capsys, "predict", "-", "--model", model, "--json")
    assert outcome.status == 0
    assert images(outcome) == [
        *("cells/b.png", "cells/a/c.PNG", "cells/a/deep/d.png"),
        "more.zip/z.png",
    ]


@pytest.mark.usefixtures("cells")
def test_line_that_leads_nowhere_is_skipped_and_the_others_go_on(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(Path("bad.zip"))
    feed(monkeypatch, b"bad.zip\ncells/*.png\nodd\0name.png\nz\xff.png\ncells/b.png\n")
    outcome = invoke(capsys, "predict", "-", "--model", model, "--json")
    assert outcome.status == 3
    assert images(outcome) == ["cells/b.png"]
    skipped = [each["image"] for each in outcome.document["skipped"]]
    assert skipped == ["bad.zip", "cells/*.png", "odd\\x00name.png", "z\\udcff.png"]


@pytest.mark.skipif(os.name != "posix", reason="names cannot hold control characters")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.usefixtures("cells")
def test_different_files_have_different_names_when_they_would_print_alike(
    model: Path, capsys: pytest.CaptureFixture[str], reverse: bool
) -> None:
    shown = {
        "\x1b.png": r"\x1b.png",
        r"\x1b.png": r"\\x1b.png",
        "\\\x1b.png": r"\\\x1b.png",
        r"\\x1b.png": r"\\\\x1b.png",
        "\u202e.png": r"\u202e.png",
        r"\u202e.png": r"\\u202e.png",
        r"\plain.png": r"\plain.png",
    }
    names = sorted(shown, reverse=reverse)
    for seed, name in enumerate(names):
        write_cell(Path(name), seed)
    outcome = invoke(capsys, "predict", *names, "\x1b.png", "--model", model, "--json")
    assert images(outcome) == [shown[name] for name in names]
    assert "1 image was named more than once" in outcome.err


@pytest.mark.skipif(os.name != "posix", reason="names cannot hold control characters")
@pytest.mark.usefixtures("cells")
def test_control_characters_reach_neither_output_nor_messages(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[2J\r\x9b\u202eb"
    write_cell(Path(f"{name}.png"), 0)
    write_file(Path(f"{name}2.png"))
    write_file(Path(f"{name}.zip"))
    Path(name).mkdir()
    shown = r"a\x1b[2J\r\x9b\u202eb"
    outcomes = [
        invoke(capsys, "predict", *given, "--model", model, "--output", "table.md")
        for given in ((f"{name}.png", f"{name}2.png"), (f"{name}.zip",), (name,), (f"{name}*.gif",))
    ]
    assert f"{shown}.png" in outcomes[0].out
    texts = [Path("table.md").read_bytes().decode()]
    for outcome in outcomes:
        assert shown in outcome.err
        texts += [outcome.out, outcome.err]
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set("".join(texts))


def test_empty_standard_input_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"\n\n")
    outcome = invoke(capsys, "predict", "-", "--model", model)
    assert outcome.status == 1
    assert "Standard input names no image" in outcome.err


def test_standard_input_that_is_no_list_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_file(tmp_path / "zeros", bytes(1 << 18)).open("rb") as zeros:
        monkeypatch.setattr(sys, "stdin", zeros)
        outcome = invoke(capsys, "predict", "-", "--model", model)
    assert outcome.status == 1
    assert "a line of more than 65,536 bytes" in outcome.err


@pytest.mark.skipif(os.name != "posix", reason="pipes cannot be waited for")
def test_answer_to_a_line_comes_before_the_next_line_is_written(model: Path, cells: Path) -> None:
    arguments = ("-q", "predict", "-", "--json-lines", "--model", str(model))
    with subprocess.Popen(
        [sys.executable, "-m", "edgecell", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for path in (cells / "b.png", cells / "a/c.PNG"):
            process.stdin.write(os.fsencode(path) + b"\n")
            assert str(path).encode() in line_of(process.stdout)
        process.stdin.close()
        assert process.wait(WAIT_SECONDS) == 0


def line_of(stream: IO[bytes]) -> bytes:
    ready, _, _ = select.select([stream], [], [], WAIT_SECONDS)
    assert ready, "no answer came"
    return stream.readline()


@pytest.mark.parametrize("option", ["--null", "-0"])
@pytest.mark.usefixtures("cells")
def test_paths_on_standard_input_end_in_zero_bytes_when_asked(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    write_cell(Path("two\nlines.png"), 3)
    feed(monkeypatch, b"cells/b.png\0two\nlines.png\0cells/a/c.PNG\0")
    outcome = invoke(capsys, "predict", "-", option, "--model", model, "--json")
    assert outcome.status == 0
    assert images(outcome) == ["cells/b.png", r"two\nlines.png", "cells/a/c.PNG"]


@pytest.mark.usefixtures("cells")
def test_zero_bytes_in_a_line_are_answered_with_the_option_for_them(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"cells/b.png\0cells/a/c.PNG\0")
    outcome = invoke(capsys, "predict", "-", "--model", model)
    assert outcome.status == 1
    assert "holds zero bytes; expected one path a line. See --null." in outcome.err


def test_null_without_standard_input_is_wrong_usage(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "predict", cells, "-0", "--model", model)
    assert outcome.status == 2
    assert "--null says how standard input is read" in outcome.err


@pytest.mark.skipif(os.name != "posix", reason="folders are made by descriptors")
@pytest.mark.parametrize("lines", [False, True])
def test_folder_deeper_than_the_system_takes_is_skipped_and_the_others_go_on(
    model: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lines: bool,
) -> None:
    descriptor = os.open(cells, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    if lines:
        feed(monkeypatch, b"cells\n")
    outcome = invoke(capsys, "predict", "-" if lines else "cells", "--model", model, "--json")
    assert outcome.status == 3
    assert images(outcome) == ["cells/a/c.PNG", "cells/a/deep/d.png", "cells/b.png"]
    (skipped,) = outcome.document["skipped"]
    assert skipped["image"].startswith(f"cells/{'d' * 200}/")
    assert skipped["reason"].endswith(
        "cannot be read: File name too long. What is in this folder was left out."
    )


def test_folder_that_is_named_and_cannot_be_listed_is_refused(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path == str(cells):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    outcome = invoke(capsys, "predict", cells, "--model", model)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"Error: {cells} cannot be read: Permission denied." in outcome.err
