"""``edgecell compare --output page.html``: curves of all runs, what differed, figures."""

import dataclasses
from pathlib import Path

import pytest
from support.command_line import invoke
from support.report_page import Seen, make_run

from edgecell.report_comparison import render_comparison
from edgecell.report_pictures import png_data_uri
from edgecell_runtime import codec
from edgecell_runtime.errors import RunError
from edgecell_train import plots
from edgecell_train.comparing import compare
from edgecell_train.history import EpochRecord
from edgecell_train.runs import HISTORY, RECORD, Run, csv_text

CURED = [EpochRecord(i, 0.7, 0.5, 0.6 / i, 0.8, 0.9, 0.55) for i in (1, 2)]
PLAIN = [EpochRecord(1, 0.7, 0.5, 0.7, 0.6)]


def _run(folder: Path, epochs: int, history: list[EpochRecord], wrong: tuple[int, ...] = ()) -> Run:
    run = make_run(folder, each=12, wrong=wrong)
    configuration = {"epochs": epochs, "augmentation.flips": epochs > 1, "batch_size": 32}
    record = dataclasses.replace(
        run.record,
        configuration=configuration,
        kept_epoch=len(history),
        threshold_rule="youden",
        threshold=0.3,
    )
    (folder / RECORD).write_text(codec.dumps(record))
    columns = [field.name for field in dataclasses.fields(EpochRecord)]
    rows = [dataclasses.astuple(epoch) for epoch in history]
    (folder / HISTORY).write_text(csv_text(columns, rows))
    return Run(folder, record)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [_run(tmp_path / "cured", 2, CURED), _run(tmp_path / "plain", 1, PLAIN, wrong=(1, 2))]


def _page(runs: list[Run]) -> Seen:
    return Seen(render_comparison(compare(runs, resamples=50), runs))


def test_command_writes_the_page_with_the_curves_of_all_runs(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    outcome = invoke(capsys, "compare", *(run.folder for run in runs), "--output", page)
    assert outcome.status == 0, outcome.err
    found = Seen(page.read_text())
    (plot,) = (attributes for tag, attributes in found.tags if tag == "img")
    assert plot["src"] == png_data_uri(plots.validations({"cured": CURED, "plain": PLAIN}))
    assert "plain minus cured" in found.text
    assert "Dashed: the same weights with the averages as the steps left them" in found.text


def test_page_loads_nothing_from_elsewhere(runs: list[Run]) -> None:
    page = _page(runs)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert all(str(a.get("src", "data:")).startswith("data:") for _, a in page.tags)
    assert "url(" not in page.style


def test_page_shows_only_options_that_differ(runs: list[Run]) -> None:
    page = _page(runs)
    assert page.row("epochs") == ["2", "1"]
    assert page.row("augmentation.flips") == ["True", "False"]
    assert page.row("kept epoch") == ["2 of 2", "1 of 1"]
    assert all(row[:1] != ["batch_size"] for row in page.rows)
    assert "All options are the same." in _page([runs[0], _again(runs[0])]).text


def _again(run: Run) -> Run:
    return _run(run.folder.parent / "again", 2, CURED)


def test_page_says_which_decision_each_figure_is_of(runs: list[Run]) -> None:
    page = _page(runs)
    assert page.row("accuracy likeliest label")[0] == "1.000 1.000 to 1.000"
    assert len(page.row("sensitivity at the threshold")) == 2
    assert page.row("threshold")[0].startswith("0.3 the highest sensitivity + specificity - 1 on")


def test_page_gives_differences_with_their_intervals(runs: list[Run]) -> None:
    page = _page(runs)
    ((_, value, interval, p, _),) = [r for r in page.rows if r[0] == "accuracy" and len(r) == 5]
    assert value == "−0.167"  # noqa: RUF001 - a minus
    assert " to " in interval
    assert 0 < float(p) <= 1


def test_page_names_a_run_without_a_history(runs: list[Run]) -> None:
    (runs[1].folder / HISTORY).unlink()
    page = _page(runs)
    assert "Without a history: plain." in page.text
    assert page.row("kept epoch") == ["2 of 2", "1"]
    (runs[0].folder / HISTORY).unlink()
    assert not [tag for tag, _ in _page(runs).tags if tag == "img"]


def test_damaged_history_leaves_no_page(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs[1].folder / HISTORY).write_text("epoch\nfirst\n")
    with pytest.raises(RunError):
        _page(runs)
    page = tmp_path / "page.html"
    outcome = invoke(capsys, "compare", *(run.folder for run in runs), "--output", page)
    assert outcome.status == 1
    assert "cannot be read as a history" in outcome.err
    assert not page.exists()


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)<"
    runs = [_run(tmp_path / hostile, 1, PLAIN), _run(tmp_path / "plain", 2, CURED)]
    page = _page(runs)
    assert hostile in page.text
    assert "script" not in {tag for tag, _ in page.tags}
