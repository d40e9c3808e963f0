import csv
from pathlib import Path

import pytest
from support.command_line import invoke
from support.report_page import make_run

from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_train.runs import RECORD


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs on the same 24 images; the second is right on two more."""
    for name, wrong in (("first", (1, 2)), ("second", (2,))):
        run = make_run(tmp_path / name, each=12, wrong=wrong)
        (run.folder / RECORD).write_text(codec.dumps(run.record))
    return [tmp_path / "first", tmp_path / "second"]


def test_tables_show_figures_and_differences(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "compare", *runs)
    assert outcome.status == 0
    assert "2 runs on the same 24 test images, 12 patients" in outcome.out
    assert "0.833 (" in outcome.out
    assert "second minus first" in outcome.out
    assert "+0.083 (" in outcome.out
    assert "sign-flip test over patients" in outcome.err


def test_json_has_every_figure_and_difference(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    document = invoke(capsys, "compare", *runs, "--json").document
    first, second = document["runs"]
    assert (document["n"], document["patients"], document["notes"]) == (24, 12, [])
    assert first["figures"]["accuracy"]["value"] == pytest.approx(20 / 24)
    assert first["differences"] == {}
    assert second["differences"]["accuracy"]["value"] == pytest.approx(2 / 24)
    assert second["differences"]["accuracy"]["p"] == 1.0
    assert second["differences"]["auc"]["p"] is None
    assert set(second["differences"]) == set(second["figures"])


def test_csv_has_the_figures_with_all_digits(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    document: Json = invoke(capsys, "compare", *runs, "--json", "--output", table).document
    rows = list(csv.DictReader(table.read_text().splitlines()))
    (found,) = [
        row for row in rows if row["kind"] == "difference" and row["figure"] == "Brier score"
    ]
    assert isinstance(document, dict)
    expected = document["runs"][1]["differences"]["brier"]  # type: ignore[index, call-overload]
    assert [float(found[key]) for key in ("value", "low", "high", "p")] == list(expected.values())
    assert found["run"] == "second"


def test_run_given_twice_is_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "compare", runs[0], runs[0] / ".." / "first")
    assert (outcome.status, outcome.out) == (2, "")
    assert "is given twice" in outcome.err


def test_single_run_and_missing_run_are_refused(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(capsys, "compare").status == 2
    assert "expected two or more" in invoke(capsys, "compare", runs[0]).err
    missing = invoke(capsys, "compare", runs[0], tmp_path / "nowhere")
    assert missing.status == 1
    assert "nowhere is no run" in missing.err


def test_runs_of_the_same_name_are_told_apart_by_their_paths(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "elsewhere" / "first"
    other.parent.mkdir()
    runs[1].rename(other)
    names = [
        run["run"] for run in invoke(capsys, "compare", runs[0], other, "--json").document["runs"]
    ]
    assert names == [str(runs[0]), str(other)]
