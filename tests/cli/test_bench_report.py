"""``edgecell bench --output page.html``: table, plots, flags, method, machine."""

import dataclasses
from pathlib import Path

import pytest
from support import benchmarks
from support.report_page import Seen

from edgecell.report_benchmark import render_benchmark
from edgecell.report_pictures import png_data_uri
from edgecell.tasks.bench.formats import check_output, write
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.bench.results import Benchmark, Estimate, Row
from edgecell_runtime.errors import MissingPartError
from edgecell_runtime.manifest import Figure
from edgecell_train import benchmark_plots
from edgecell_train.benchmark_plots import Place


def seen(benchmark: Benchmark) -> Seen:
    return Seen(render_benchmark(benchmark))


@pytest.fixture(scope="module")
def page() -> Seen:
    return seen(benchmarks.benchmark(skipped=(benchmarks.skipped(),)))


def plots(page: Seen) -> list[str]:
    return [str(attributes["alt"]).split(" ")[0] for tag, attributes in page.tags if tag == "img"]


def test_page_loads_nothing_from_elsewhere(page: Seen) -> None:
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert all(str(a.get("src", "data:")).startswith("data:") for _, a in page.tags)
    assert "url(" not in page.style


def test_page_is_the_same_for_the_same_result(tmp_path: Path) -> None:
    small = benchmarks.benchmark([benchmarks.row()])
    write(small, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == render_benchmark(small)


def test_table_has_median_with_interval_percentiles_and_accuracy_in_one_row(page: Seen) -> None:
    row = page.rows[2]
    assert row[0] == "#1 float32.tflite litert, 2"
    assert row[1] == "0.750 0.743 to 0.758"
    assert row[6:8] == ["1", "2,667 2,614 to 2,720 at 16"]
    assert "0.953 0.942 to 0.962" in row


def test_plots_are_those_that_the_result_has_something_for(page: Seen) -> None:
    assert plots(page) == ["Histograms", "Line", "Accuracy"]
    sweep = [benchmarks.row(threads=n, ms=1 / n) for n in (1, 2)]
    assert plots(seen(benchmarks.benchmark(sweep))) == ["Histograms", "Line"]
    assert plots(seen(benchmarks.benchmark([benchmarks.row(scenario="cold")]))) == []


def test_flags_and_skipped_targets_stand_above_the_table(page: Seen) -> None:
    before, _, _ = page.text.partition("How fast, how big, how right")
    assert "a load: other processes took 43 % of the CPUs (#2 single stream" in before
    assert "Not measured: broken.onnx" in before
    assert any(row[:1] == ["#2 static_int8.onnx a onnxruntime, 2"] for row in page.rows)


def test_page_warns_when_images_are_no_photographs(page: Seen) -> None:
    words = "Whether answers are right on real blood smears, this page does not say."
    cold = [benchmarks.row(scenario="cold")]
    assert words in seen(benchmarks.benchmark(cold, images="drawn")).text
    assert words in seen(benchmarks.benchmark(cold, images="golden")).text
    assert words not in page.text


def test_page_names_machine_method_and_energy(page: Seen) -> None:
    assert page.row("Machine")[0].startswith("Test Processor 3000, 2 of 4 CPUs")
    assert "numpy 2.4.6" in page.row("Versions")[0]
    assert "at least 1,024 queries and 3 s each" in page.row("Timed")[0]
    assert page.row("Reference kernel")[0].startswith("0.900 ms (0.896 to 0.904)")
    assert "Energy: not measured: this machine has no meter" in page.text


def test_paced_rows_have_a_table_of_their_own(page: Seen) -> None:
    both = [benchmarks.row(), benchmarks.row(scenario="paced", ms=1.5)]
    assert "Paced at 30 Hz" in seen(benchmarks.benchmark(both)).text
    assert "Paced at" not in page.text


@pytest.mark.parametrize(
    "row",
    [
        benchmarks.row(evaluation=None, changed_labels=None, relative=None, macs=None),
        benchmarks.row(scenario="offline", batches=()),
        benchmarks.row(peak_memory_bytes=None, operators={}),
        benchmarks.row("<b>&.tflite"),
    ],
)
def test_page_is_written_when_figures_are_missing_or_names_are_odd(row: Row) -> None:
    latency = dataclasses.replace(row.latency, p90_ms=None, p99_ms=None, p999_ms=None, histogram=())
    second = dataclasses.replace(row, latency=latency, threads=1, target=Target("other"))
    result = benchmarks.benchmark([row, second], reference_ms=None)
    page = seen(result)
    assert next(r[0] for r in page.rows if r and r[0].startswith("#2 ")).startswith(
        f"#2 {row.artifact} litert, "
    )


def test_page_is_refused_when_a_library_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = {"jinja2": object()}
    monkeypatch.setattr("edgecell.report_benchmark.find_spec", found.get)
    with pytest.raises(MissingPartError, match="needs matplotlib: pip install"):
        render_benchmark(benchmarks.benchmark())
    found.clear()
    with pytest.raises(MissingPartError, match="needs jinja2: pip install"):
        check_output(tmp_path / "page.html")  # before anything is measured


def test_comparison_has_a_table_and_old_rows_are_marked() -> None:
    page = seen(benchmarks.compared())
    assert "Slower or not: 1 slower, 0 faster, 0 neither" in page.text
    assert page.row(benchmarks.TFLITE)[2:] == ["1.200 (1.164-1.237)", "slower"]
    names = [row[0] for row in page.rows if row and row[0].startswith("#")]
    assert f"#1 {benchmarks.TFLITE} (old) litert, 2" in names
    assert f"#2 {benchmarks.TFLITE} litert, 2" in names


def test_page_has_a_dash_where_there_is_no_interval() -> None:
    bare = dataclasses.replace(benchmarks.latency(0.75), median_ms=Estimate(0.75, None, None))
    result = benchmarks.benchmark(
        [benchmarks.row(latency=bare)], reference_ms=Estimate(0.9, None, None)
    )
    page = seen(result)
    assert page.rows[2][1] == "0.750 -"
    assert page.row("Reference kernel")[0].startswith("0.900 ms: fixed work")


def test_frontier_is_drawn_alike_for_the_same_places_and_without_accuracies() -> None:
    places = [Place(str(i), 1000 * (i + 1), Figure(i + 1, i, i + 2), None) for i in range(10)]
    first = benchmark_plots.frontier(places)
    assert first.startswith(b"\x89PNG")
    assert png_data_uri(first) == png_data_uri(benchmark_plots.frontier(places))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.4, 30, [0.5, 1, 2, 5, 10, 20]),
        (0.4, 3000, [1, 10, 100, 1000]),
        (0.72, 0.91, [0.75, 0.8, 0.85, 0.9]),
        (3.1, 4.9, [3.5, 4, 4.5]),
        (1e-3, 1e12, [1e-3, 1, 1e3, 1e6, 1e9, 1e12]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, ticks: list[float]) -> None:
    assert benchmark_plots.plain_ticks(low, high) == ticks


def test_frontier_is_the_places_that_no_other_beats() -> None:
    points = [(1.0, 0.9), (2.0, 0.95), (2.0, 0.94), (3.0, 0.93), (0.5, 0.8)]
    assert benchmark_plots._unbeaten(points) == [(0.5, 0.8), (1.0, 0.9), (2.0, 0.95)]
