"""The examples run as they stand."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from support import artifacts
from support.pictures import encoded, gradient

FOLDER = Path(__file__).parents[2] / "runtime/examples"
BOTH = ("classify_folder", "watch_camera")


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(gradient(8 + number, 8), "PNG"))
    return folder


def run_example(name: str, model: Path, folder: Path) -> int:
    main = example(name).main
    if name == "watch_camera":
        return int(asyncio.run(main(str(model), folder)))
    return int(main(str(model), str(folder)))


def test_folder_is_classified_and_what_cannot_be_read_is_named(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cells / "1.png").write_bytes(b"no image")
    (cells / "3.JPG").write_bytes(encoded(gradient(8, 8), "JPEG"))
    (cells / "notes.txt").write_bytes(b"no image")
    model = artifacts.write_artifact(tmp_path, "onnx")
    assert run_example("classify_folder", model, cells) == 3
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["0.png", "2.png", "3.JPG"]
    assert "1.png is not an image" in shown.err
    (cells / "1.png").unlink()
    assert run_example("classify_folder", model, cells) == 0


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_folder_without_an_image_fails_in_a_sentence(
    name: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    model = artifacts.write_artifact(tmp_path, "onnx")
    assert run_example(name, model, tmp_path / folder) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert f"{tmp_path / folder} is no folder with images in it" in shown.err


def test_camera_is_watched_to_its_end(
    tmp_path: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = example("watch_camera")
    monkeypatch.setattr(module, "FRAMES", 5)
    monkeypatch.setattr(module, "FRAMES_A_SECOND", 1000)
    model = artifacts.write_artifact(tmp_path, "onnx")
    assert asyncio.run(module.main(str(model), cells)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "golden answers within" in lines[0]
    assert lines[-1].endswith("of 5 frames were dropped.")


def test_bad_frame_does_not_end_the_watch(
    tmp_path: Path,
    cells: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (cells / "0.png").write_bytes(b"no image")
    module = example("watch_camera")
    monkeypatch.setattr(module, "FRAMES", 3)
    monkeypatch.setattr(module, "FRAMES_A_SECOND", 10)
    model = artifacts.write_artifact(tmp_path, "onnx")
    assert asyncio.run(module.main(str(model), cells)) == 3
    shown = capsys.readouterr()
    assert "frame 0: " in shown.err
    assert "0.png is not an image" in shown.err
    assert shown.out.splitlines()[-1].endswith("of 3 frames were dropped.")


@pytest.mark.parametrize("name", BOTH)
def test_error_is_one_sentence(
    name: str, tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_example(name, tmp_path / "none.onnx", cells) == 1
    assert "There is no artifact" in capsys.readouterr().err
