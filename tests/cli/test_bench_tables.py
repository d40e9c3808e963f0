"""A benchmark in the terminal."""

import re

import pytest
from support import benchmarks

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.bench.formats import as_markdown
from edgecell.tasks.bench.tables import notes, tables
from edgecell.tasks.bench.words import digits, engine_words, figure_words, measured, short_names
from edgecell_runtime.bench.plan import Plan, Target
from edgecell_runtime.bench.results import Energy, Estimate, Flag, Row

NAMES = ["malaria-cnn-float32.tflite", "malaria-cnn-static_int8.tflite", benchmarks.ONNX]


def rows(**changes: object) -> list[Row]:
    return [row for i, n in enumerate(NAMES) for row in benchmarks.rows_of(n, 0.5 + i, **changes)]


def cells(table: Table, line: int = 0) -> dict[str, str]:
    return dict(zip(table.columns, table.rows[line], strict=True))


def test_median_has_its_interval_and_stands_before_the_percentiles() -> None:
    times = tables(benchmarks.benchmark())[0]
    assert times.title == "Latency of malaria-cnn, preprocessed pixels to logits"
    assert times.columns[3:6] == ("median ms", "p90", "p99")
    assert cells(times)["median ms"] == "0.750 (0.743-0.758)"
    heads = [column for table in tables(benchmarks.benchmark()) for column in table.columns]
    assert not any("mean" in head for head in heads)


def test_accuracy_stands_in_the_row_of_the_latency() -> None:
    assert cells(tables(benchmarks.benchmark())[0])["accuracy"] == "0.953"


def test_target_has_one_line_of_its_scenarios() -> None:
    _, costs, sizes = tables(benchmarks.benchmark())
    found = cells(costs, 1)
    assert found["artifact"] == "static_int8.onnx"
    assert found["time / #1"] == "0.667 (0.660-0.673)"
    assert found["images/s"] == "4,000 (3,922-4,080) at 16"
    assert found["cold ms"] == "165 (157-173)"
    assert cells(sizes, 1)["MB"] == "4.37"
    assert cells(sizes, 1)["sensitivity"] == "0.941 (0.930-0.950)"
    assert cells(sizes, 1)["changed"] == "0.45%"
    assert "5,393 images" in sizes.title


def test_first_line_has_the_ratio_one() -> None:
    assert cells(tables(benchmarks.benchmark())[1])["time / #1"] == "1"


def test_flags_are_marked_and_explained_once() -> None:
    load = Flag("load", "other processes took 43 % of the CPUs")
    flagged = [*rows(flags=(load,)), benchmarks.row("b.tflite", flags=(load,))]
    result = benchmarks.benchmark([benchmarks.row("a.tflite"), *flagged])
    times = tables(result)[0]
    assert [row[0] for row in times.rows] == ["1", "2 [a]", "3 [a]", "4 [a]", "5 [a]"]
    explained = [line for line in notes(result) if line.startswith("[a]")]
    assert explained == [
        "[a] load: other processes took 43 % of the CPUs (#2 single stream, offline, cold; "
        "#3 single stream, offline, cold; #4 single stream, offline, cold; #5 single stream)"
    ]


def test_conditions_have_a_letter_each_and_the_first_of_what_was_seen() -> None:
    flagged = [
        benchmarks.row(f"{n}.onnx", flags=(Flag("load", f"{n} %"), Flag("short", "few")))
        for n in range(5)
    ]
    result = benchmarks.benchmark(flagged)
    assert {row[0][1:] for row in tables(result)[0].rows} == {" [ab]"}
    assert notes(result)[:2] == [
        "[a] load: 0 % (#1 single stream); 1 % (#2 single stream); 2 % (#3 single stream); "
        "and 2 more",
        "[b] short: few (" + "; ".join(f"#{n} single stream" for n in range(1, 6)) + ")",
    ]


def test_loosened_artifact_is_marked() -> None:
    result = benchmarks.benchmark([benchmarks.row(loosened=True)])
    assert cells(tables(result)[0])["#"] == "1 [a]"
    assert any("[a] loosened: its limits" in line for line in notes(result))


def test_skipped_target_is_said_with_its_reason() -> None:
    said = notes(benchmarks.benchmark(skipped=(benchmarks.skipped(),)))
    assert "Not measured: broken.onnx: The engine's process ended with status -9." in said


def test_columns_without_a_figure_are_left_out() -> None:
    bare = benchmarks.row(evaluation=None, changed_labels=None, peak_memory_bytes=None)
    (sizes,) = tables(benchmarks.benchmark([bare]))[1:]
    assert sizes.title == "File size"
    assert sizes.columns == ("#", "artifact", "MB")
    measured_energy = benchmarks.row(energy=Energy("RAPL package-0", 4.5, 3.25, 2.5))
    assert cells(tables(benchmarks.benchmark([measured_energy]))[1])["mJ"] == "2.50"


def test_paced_rows_stand_beside_single_stream_when_both_were_measured() -> None:
    both = [benchmarks.row(), benchmarks.row(scenario="paced", ms=1.5)]
    result = benchmarks.benchmark(both, plan=Plan(scenarios=("single_stream", "paced")))
    times = tables(result)[0]
    assert [row[3] for row in times.rows] == ["single stream", "paced"]
    assert any("a query at each tick of 30 Hz" in line for line in notes(result))


def test_table_is_called_after_the_columns_that_it_has() -> None:
    titles = [table.title for table in tables(benchmarks.benchmark())]
    assert titles[1] == "Against the first, throughput, cold start"
    alone = tables(benchmarks.benchmark([benchmarks.row(scenario="cold")]))
    assert alone[0].title == "Cold start"


def test_old_artifact_of_the_same_name_is_marked() -> None:
    times = tables(benchmarks.compared())[0]
    assert [row[1] for row in times.rows] == [f"{benchmarks.TFLITE} (old)", benchmarks.TFLITE]


def test_names_are_printed_without_control_characters() -> None:
    result = benchmarks.benchmark([benchmarks.row("a\x1b[2J.tflite")])
    assert "\x1b" not in as_markdown(result)
    assert "a\\x1b[2J.tflite" in tables(result)[0].rows[0][1]


def test_reference_kernel_that_failed_is_said() -> None:
    result = benchmarks.benchmark(reference_ms=None, reference_note="The process was ended.")
    (line,) = [line for line in notes(result) if line.startswith("The reference kernel")]
    assert line.startswith("The reference kernel was not measured: The process was ended.")


def test_cold_starts_alone_make_no_table_of_latencies() -> None:
    result = benchmarks.benchmark([benchmarks.row(scenario="cold")])
    assert [table.title[:6] for table in tables(result)] == ["Cold s", "Memory"]


@pytest.mark.parametrize("fold", [False, True])
def test_tables_fit_a_hundred_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fold: bool
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60" if fold else "100")
    monkeypatch.setenv("TERM", "xterm")
    console.present({}, tables(benchmarks.benchmark(rows())), as_json=False, output=None)
    printed = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= (60 if fold else 100)
    # A line a column is how a table degrades.
    assert any(line.startswith("median ms  ") for line in printed.splitlines()) == fold


def test_thread_sweep_has_a_line_each_and_says_what_was_seen() -> None:
    sweep = [benchmarks.row(threads=n, threads_seen=min(n, 2)) for n in (1, 2, 4)]
    assert [line.number for line in measured(benchmarks.benchmark(sweep))] == [1, 2, 3]
    assert [engine_words(row) for row in sweep] == ["litert, 1", "litert, 2", "litert, 4 (2 seen)"]
    pinned = benchmarks.row(target=Target("a.tflite", "", 2, (0, 1)))
    assert engine_words(pinned) == "litert, 2 on CPU 0,1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05123, "0.0512"),
        (0.7431, "0.743"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (0.000012, "0.0000"),
        (0, "0.00"),
        (None, "-"),
    ],
)
def test_digits_are_three_that_count(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_ends_of_an_interval_have_the_digits_of_the_middle() -> None:
    assert figure_words(Estimate(9.97, 9.9, 10.1234)) == "9.97 (9.90-10.12)"
    assert figure_words(Estimate(9.97, None, None)) == "9.97 (-)"


def test_names_are_shortened_by_what_all_begin_with() -> None:
    head, names = short_names([benchmarks.row(name) for name in NAMES])
    assert head == "malaria-cnn-"
    assert names[NAMES[0]] == "float32.tflite"
    assert short_names([benchmarks.row(NAMES[0])]) == ("", {NAMES[0]: NAMES[0]})
    others = [benchmarks.row("cell-nano.tflite"), benchmarks.row("cell-micro.tflite")]
    assert short_names(others) == ("", {row.artifact: row.artifact for row in others})
    head, names = short_names([benchmarks.row("a.onnx"), benchmarks.row("b.onnx")])
    assert (head, set(names.values())) == ("", {"a.onnx", "b.onnx"})


def test_last_note_is_machine_and_date() -> None:
    last = notes(benchmarks.benchmark())[-1]
    assert last.startswith("2026-11-22 10:00 UTC, Test Processor 3000, 2 of 4 CPUs, 9 GB")
    assert "edgecell 0.1.0, numpy 2.4.6, litert 2.3.0, onnxruntime 2.3.0" in last
