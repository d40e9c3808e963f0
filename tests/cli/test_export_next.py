"""The command that ``edgecell export`` ends with works when it is pasted."""

import shlex
from pathlib import Path

import pytest
from support import artifacts

from edgecell.tasks.exporting import Done, Request, next_command
from edgecell_export.exporting import Exported


def _done(*paths: Path) -> list[Done]:
    manifest = artifacts.tiny_manifest()
    return [Done(Exported(path, path.with_suffix(".md"), manifest, 1)) for path in paths]


def test_next_command_names_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "my runs" / "one" / "exports" / name for name in ("a.tflite", "a.onnx")]
    words = shlex.split(next_command(Request(None), _done(*paths)))
    assert words[:2] == ["edgecell", "bench"]
    assert [Path(word).absolute() for word in words[2:]] == paths


def test_next_command_says_where_the_images_are_now_of_a_run(tmp_path: Path) -> None:
    moved, artifact = tmp_path / "moved cells.zip", tmp_path / "a.tflite"
    inside = shlex.split(next_command(Request(None, data=moved), _done(artifact)))
    assert inside[-2:] == ["--data", str(moved)]
    # Bench would take all images for an artifact outside a run, and call the figure an accuracy.
    outside = Request(None, data=moved, out=tmp_path)
    assert "--data" not in next_command(outside, _done(artifact))
