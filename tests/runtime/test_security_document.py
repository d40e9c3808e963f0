"""Each attack in SECURITY.md names a test, and the test is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "runtime" / "SECURITY.md"

_REFERENCE = re.compile(r"`(tests/[a-z_/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """The cells of every row below a table's head."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in cells if row != ["attack", "answer", "test"] and set(row) != {"---"}]


def test_document_has_rows_of_attack_answer_and_test() -> None:
    assert len(rows()) > 50
    assert [row for row in rows() if len(row) != 3 or not all(row)] == []
    attacks = [row[0] for row in rows()]
    assert len(rows()) == len({(row[0], row[2]) for row in rows()}), attacks


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[2].strip("`").rpartition("/")[2])
def test_named_test_is_there(row: list[str]) -> None:
    match = _REFERENCE.fullmatch(row[2])
    assert match is not None, row[2]
    tree = ast.parse((ROOT / match[1]).read_text("utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names.count(match[2]) == 1, f"{match[1]} has no {match[2]}"


def test_every_file_of_hostile_tests_is_in_the_document() -> None:
    named = {match[0] for match in _REFERENCE.findall(DOCUMENT.read_text("utf-8"))}
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*/test_hostile_*.py")}
    assert files <= named
