"""A benchmark's files: JSON and its schema, CSV, Markdown, pytest-benchmark's JSON."""

import csv
import dataclasses
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pytest_benchmark.storage.file import FileStorage
from support import benchmarks

from edgecell.tasks.bench import csv_rows, formats
from edgecell.tasks.bench.pytest_json import as_pytest_benchmark
from edgecell.tasks.bench.schema import IDENTIFIER
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark, Energy
from edgecell_runtime.errors import StorageError, UsageError

PUBLISHED = Path(__file__).parents[2] / "runtime" / "benchmark.schema.json"
VALIDATOR = Draft202012Validator(json.loads(PUBLISHED.read_bytes()))
FULL = benchmarks.benchmark(
    [
        *benchmarks.rows_of(benchmarks.TFLITE, 0.75),
        benchmarks.row(benchmarks.ONNX, energy=Energy("RAPL package-0", 4.5, 3.25, 2.5)),
        benchmarks.row(benchmarks.ONNX, "paced", evaluation=None, relative=None, macs=None),
    ],
    skipped=(benchmarks.skipped(),),
)


# JSON and its schema


def test_published_schema_is_what_the_command_prints() -> None:
    command = [sys.executable, "-W", "error", "-m", "edgecell.tasks.bench.schema"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert printed == PUBLISHED.read_bytes(), (
        "The result has changed: python -m edgecell.tasks.bench.schema > "
        "runtime/benchmark.schema.json"
    )


def test_published_schema_is_a_schema_of_this_version_of_the_result() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$id"] == IDENTIFIER
    assert f"urn:edgecell:benchmark:{FULL.schema_version}" == IDENTIFIER


def test_json_file_is_valid_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    formats.write(FULL, path)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    assert formats.read_benchmark(path) == codec.decode(Benchmark, codec.encode(FULL), "benchmark")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"missing.json cannot be read: No such file"),
        ("{}", r"missing.json is no benchmark .* lacks the key 'system'.* Measure again"),
        ("[", r"missing.json is no benchmark .* not valid JSON"),
    ],
)
def test_file_is_refused_when_it_is_no_benchmark(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "missing.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words):
        formats.read_benchmark(path)


def test_output_is_refused_before_measuring_when_it_cannot_be_written(tmp_path: Path) -> None:
    formats.check_output(None)
    formats.check_output(tmp_path / "new" / "result.html")
    with pytest.raises(UsageError, match=r"suffix '\.xlsx'; expected one of \.pytest\.json, "):
        formats.check_output(tmp_path / "result.xlsx")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        formats.check_output(tmp_path / "folder.md")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is no folder"):
        formats.check_output(tmp_path / "file" / "result.csv")


def test_comparison_is_in_every_file_and_comes_back(tmp_path: Path) -> None:
    compared = benchmarks.compared()
    path = tmp_path / "result.json"
    formats.write(compared, path)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    assert formats.read_benchmark(path).comparison == compared.comparison
    old, new = csv.DictReader(io.StringIO(csv_rows.as_csv(compared)))
    assert (old["old"], old["comparison.verdict"]) == ("True", "")
    assert (new["old"], new["comparison.verdict"]) == ("False", "slower")
    assert (new["comparison.ratio.value"], new["comparison.ratio.low"]) == ("1.2", "1.164")
    text = formats.as_markdown(compared)
    assert f"| 1 | {benchmarks.TFLITE} (old) |" in text
    assert "| 1.200 (1.164-1.237) | slower |" in text
    entries = as_pytest_benchmark(compared)["benchmarks"]
    assert isinstance(entries, list)
    assert len({entry["name"] for entry in entries}) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [("run.json", "the record of a run"), ("a.pytest.json", "a file for pytest-benchmark")],
)
def test_other_json_of_ours_is_called_what_it_is(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=f"{said} and no benchmark of edgecell; name the"):
        formats.read_benchmark(tmp_path / name)


# CSV


def test_csv_has_a_line_a_row_and_all_digits() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_rows.as_csv(FULL))))
    assert len(lines) == len(FULL.rows)
    row = FULL.rows[0]
    assert row.latency is not None
    assert lines[0]["latency.median_ms.low"] == repr(row.latency.median_ms.low)
    assert lines[0]["latency.p99_ms"] == repr(row.latency.p99_ms)
    assert lines[0]["evaluation.sensitivity.high"] == "0.952"
    assert lines[0]["operators"] == "CONV_2D int8=4; FULLY_CONNECTED int8=2"
    assert lines[1]["batches"].startswith("1: 1599.9999999999998; 2: 2000.0; 4: ")
    assert lines[2]["cold.import_ms"] == "180.5"
    assert lines[2]["latency.median_ms.value"] == ""
    assert lines[3]["energy.method"] == "RAPL package-0"
    assert lines[3]["base_row"] == "0"
    assert all(line["processor"] == "Test Processor 3000" for line in lines)
    assert all(line["time"] == FULL.time for line in lines)


def test_csv_has_the_same_columns_for_every_result() -> None:
    cold = benchmarks.benchmark([benchmarks.row(scenario="cold", evaluation=None)])
    heads = {csv_rows.as_csv(one).partition("\n")[0] for one in (FULL, cold)}
    assert len(heads) == 1
    assert len(set(csv_rows.columns())) == len(csv_rows.columns())


def test_csv_holds_every_number_of_a_row_but_the_histogram() -> None:
    row = FULL.rows[0]
    kept = dataclasses.replace(
        row, latency=dataclasses.replace(row.latency, histogram=(), histogram_from=0.0)
    )
    line = csv_rows.as_csv(FULL).splitlines()[1]
    for number in numbers(codec.encode(kept)):
        assert number in line


def numbers(document: codec.Json) -> list[str]:
    if isinstance(document, dict):
        return [
            n for key, item in document.items() if key != "histogram_step" for n in numbers(item)
        ]
    if isinstance(document, list):
        return [number for item in document for number in numbers(item)]
    return [str(document)] if isinstance(document, int | float) else []


# Markdown


def test_markdown_names_machine_date_and_plan_in_one_line() -> None:
    text = formats.as_markdown(benchmarks.benchmark())
    (line,) = [line for line in text.splitlines() if line.startswith("Measured ")]
    for words in (
        "2026-11-22 10:00 UTC on Test Processor 3000, 2 of 4 CPUs",
        "numpy 2.4.6",
        "at least 1,024 queries",
        "held-out images of the run",
    ):
        assert words in line


def test_markdown_has_medians_with_intervals_and_explains_flags() -> None:
    text = formats.as_markdown(benchmarks.benchmark())
    assert "| 1 | float32.tflite | litert, 2 | 0.750 (0.743-0.758) |" in text
    assert "| 2 [a] | static_int8.onnx |" in text
    assert "\\[a\\] load: other processes took 43 % of the CPUs (#2 single stream" in text


# pytest-benchmark


def test_pytest_benchmark_loads_what_was_written(tmp_path: Path) -> None:
    formats.write(FULL, tmp_path / "0001_cells.pytest.json")
    storage = FileStorage(tmp_path, logging.getLogger("pytest-benchmark"))
    loaded = list(storage.load_benchmarks())
    assert [one["group"] for one in loaded] == [
        "single stream, model",
        "offline, model",
        "single stream, model",
        "paced, model",
    ]  # the cold start has no single times
    median = FULL.rows[0].latency.median_ms.value
    assert loaded[0]["median"] == pytest.approx(median / 1e3)
    assert loaded[0]["rounds"] == 2048


def test_pytest_benchmark_compares_what_was_written(tmp_path: Path) -> None:
    for number, ms in ((1, 0.5), (2, 0.75)):
        result = benchmarks.benchmark([benchmarks.row(ms=ms)], ratios=())
        formats.write(result, tmp_path / f"000{number}_cells.pytest.json")
    command = [sys.executable, "-m", "pytest_benchmark", "--storage", str(tmp_path), "compare"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "malaria-cnn-float32.tflite[litert-2 threads]" in done.stdout
    assert "(1.50)" in done.stdout  # the second's median over the first's


def test_pytest_benchmark_has_statistics_in_their_order() -> None:
    entries = as_pytest_benchmark(FULL)["benchmarks"]
    assert isinstance(entries, list)
    for entry in entries:
        s = entry["stats"]
        places = [s[k] for k in ("min", "ld15iqr", "q1", "median", "q3", "hd15iqr", "max")]
        assert places == sorted(places)
        assert s["stddev"] > 0
        assert s["ops"] == pytest.approx(1 / s["mean"])


def test_pytest_benchmark_says_what_comes_from_the_histogram() -> None:
    entries = as_pytest_benchmark(FULL)["benchmarks"]
    assert isinstance(entries, list)
    assert "stddev" in entries[0]["extra_info"]["from_histogram"]
    assert "median" not in entries[0]["extra_info"]["from_histogram"]
