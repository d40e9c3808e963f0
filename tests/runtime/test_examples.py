"""The examples run as they stand."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from support import artifacts
from support.pictures import encoded, gradient

FOLDER = Path(__file__).parents[2] / "runtime/examples"


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


def test_folder_is_classified_and_what_cannot_be_read_is_named(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cells / "1.png").write_bytes(b"no image")
    model = artifacts.write_artifact(tmp_path, "onnx")
    assert example("classify_folder").main(str(model), str(cells)) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["0.png", "2.png"]
    assert "1.png is not an image" in shown.err


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


@pytest.mark.parametrize("name", ["classify_folder", "watch_camera"])
def test_error_is_one_sentence(
    name: str, tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = example(name).main
    if name == "watch_camera":
        status = asyncio.run(main(str(tmp_path / "none.onnx"), cells))
    else:
        status = main(str(tmp_path / "none.onnx"), str(cells))
    assert status == 1
    assert "There is no artifact" in capsys.readouterr().err
