"""Tables on terminals of any width, and documents in files."""

import json
from pathlib import Path

import pytest
import rich.console

from edgecell import console
from edgecell.console import Table

TABLE = Table(
    "Speed", ("artifact", "engine", "median ms", "p90 ms"), [("a" * 40, "x", "1.250", "2.5")]
)


def _printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> str:
    plain = rich.console.Console

    def terminal(**options: bool) -> rich.console.Console:
        return plain(force_terminal=True, no_color=True, width=width, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(rich.console, "Console", terminal)
    console.present(None, [TABLE], as_json=False, output=None)
    return capsys.readouterr().out


def test_table_is_stacked_and_numbers_stay_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _printed(monkeypatch, capsys, 50).splitlines()
    assert "median ms  1.250" in lines
    assert f"artifact   {'a' * 40}" in lines


def test_table_has_one_line_a_row_on_a_wide_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = (x for x in _printed(monkeypatch, capsys, 120).splitlines() if "1.250" in x)
    assert "a" * 40 in line
    assert "2.5" in line


def test_json_lines_file_holds_the_document_in_one_line(tmp_path: Path) -> None:
    document = {"labels": ["Größe", "b"], "rows": 2}
    console.write(document, [TABLE], tmp_path / "result.jsonl")
    text = (tmp_path / "result.jsonl").read_text(encoding="utf-8")
    assert (text.count("\n"), text[-1]) == (1, "\n")
    assert json.loads(text) == document
