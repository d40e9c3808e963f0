"""``benchmarks/readme_tables.py``: a README's figures come from results, or the check says so."""

import subprocess
import sys
from pathlib import Path

import pytest
from readme_tables import filled, rendered
from support import benchmarks

from edgecell.tasks.bench import formats
from edgecell_runtime.errors import UsageError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "readme_tables.py"
README = """# A title

<!-- bench:laptop -->
an older table
<!-- /bench -->

Words between.

<!-- bench:board -->
<!-- /bench -->

An end.
"""


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    """Two results in a folder below the README's."""
    folder = tmp_path / "results"
    folder.mkdir()
    found = [folder / "laptop.json", folder / "board.json"]
    board = benchmarks.benchmark(
        benchmarks.rows_of(benchmarks.TFLITE, 7.25),
        system=benchmarks.system(processor="A Board"),
        time="2026-11-21T09:00:00+00:00",
    )
    for path, result in zip(found, (benchmarks.benchmark(), board), strict=True):
        formats.write(result, path)
    return found


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_blocks_get_the_tables_with_machine_and_date(readme: Path, results: list[Path]) -> None:
    text = filled(README, rendered(readme, results))
    laptop, board = text.split("Words between.")
    assert text.startswith("# A title\n\n<!-- bench:laptop -->\n\n**")
    assert text.endswith("<!-- /bench -->\n\nAn end.\n")
    assert "an older table" not in text
    assert "2026-11-22 10:00 UTC on Test Processor 3000" in laptop
    assert "[laptop.json](results/laptop.json)" in laptop
    assert "2026-11-21 09:00 UTC on A Board" in board
    assert "| 7.25 (" in board
    assert "| 7.25 (" not in laptop


def test_filling_again_changes_nothing(readme: Path, results: list[Path]) -> None:
    tables = rendered(readme, results)
    once = filled(README, tables)
    assert filled(once, tables) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none", "There is no block for laptop.json"),
        ("<!-- bench:laptop -->\nx", "bench:laptop, line 1, has no <!-- /bench -->"),
        ("<!-- bench:laptop -->\n<!-- bench:board -->\n<!-- /bench -->", "has no <!-- /bench -->"),
        ("a\n<!-- /bench -->", "without a beginning, line 2"),
        ("<!-- bench:laptop --><!-- /bench -->" * 2, "two blocks bench:laptop"),
        ("<!-- bench:phone --><!-- /bench -->", "bench:phone has no result here"),
    ],
)
def test_markers_that_do_not_fit_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        filled(text, {"laptop": "a table\n"})


def test_two_results_of_one_name_are_refused(readme: Path, results: list[Path]) -> None:
    twin = readme.parent / "laptop.json"
    twin.write_bytes(results[0].read_bytes())
    with pytest.raises(UsageError, match="Two results are named laptop"):
        rendered(readme, [results[0], twin])


def test_name_that_reads_as_a_marker_is_refused(readme: Path) -> None:
    path = readme.parent / "odd.json"
    row = benchmarks.row("<!-- /bench -->.tflite")
    formats.write(benchmarks.benchmark([row]), path)
    with pytest.raises(UsageError, match="reads as a marker"):
        rendered(readme, [path])


def test_check_says_whether_a_figure_was_changed_by_hand(readme: Path, results: list[Path]) -> None:
    before = run(readme, *results, "--check")
    assert before.returncode == 1
    assert readme.read_text() == README, "a check writes nothing"
    assert run(readme, *results).returncode == 0
    assert run(readme, *results, "--check").returncode == 0
    written = readme.read_text()
    readme.write_text(written.replace("7.25 (", "6.25 ("))
    after = run(readme, *results, "--check")
    assert after.returncode == 1
    assert "write it anew: python benchmarks/readme_tables.py" in after.stderr


def test_result_that_is_none_leaves_the_readme_as_it_is(readme: Path, results: list[Path]) -> None:
    results[1].write_text("{}")
    found = run(readme, *results)
    assert found.returncode == 2
    assert "board.json is no benchmark" in found.stderr
    assert readme.read_text() == README
