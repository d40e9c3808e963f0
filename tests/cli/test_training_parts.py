"""What a training needs is asked for before anything begins."""

from pathlib import Path

import pytest
from support.command_line import invoke

from edgecell.tasks import training_parts


@pytest.mark.parametrize("command", [("train",), ("demo",), ("compress", "--max-size", "9kB")])
def test_missing_package_is_named_before_anything_begins(
    command: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_parts, "PARTS", ("keras", "no_such_package"))
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, *command)
    assert outcome.status == 1
    assert "Training needs no_such_package" in outcome.err
    assert "pip install 'edgecell[train]'" in outcome.err
    assert not list(tmp_path.iterdir())
