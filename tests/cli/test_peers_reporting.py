"""``benchmarks/loop_reporting.py``: pytest-benchmark reports what edgecell's loop measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SUITE = """
from loop_reporting import measure, report, timed_by_loop
from edgecell_runtime.bench.loop import Subject

@timed_by_loop("told")
def test_told(benchmark):
    report(benchmark, [3_000, 1_000_000_001, 2_500])

@timed_by_loop("measured")
def test_measured(benchmark):
    prepared, asked, kept = [], [], []
    def ask(query):
        asked.append(query)
        return -query
    def prepare(query):
        prepared.append(query)
        return query
    subject = Subject(prepare, ask, lambda *two: kept.append(two))
    assert measure(benchmark, subject, 0.01) == -asked[-1]
    assert len(prepared) == len(asked)
    print("kept", len(kept), "asked", len(asked))
"""


def run(folder: Path, *options: str) -> str:
    """Runs the suite in a process of its own; its output."""
    suite = folder / "test_suite.py"
    suite.write_text(SUITE)
    path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pytest", str(suite), f"--rootdir={folder}", "-q", "-s"]
    plain = ("-p", "no:cacheprovider", "-c", os.devnull)
    # Where these tests run in parallel, pytest-benchmark would think that the suite does, too.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    said = subprocess.run(
        [*command, *plain, *options],
        env={**outer, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def test_times_of_the_loop_are_reported_query_by_query(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    run(tmp_path, f"--benchmark-json={file}", "--benchmark-save-data")
    told, measured = json.loads(file.read_text())["benchmarks"]
    assert told["stats"]["data"] == pytest.approx([3e-6, 1.000000001, 2.5e-6], rel=1e-9)
    assert told["options"]["timer"].endswith("edgecell_loop")
    assert measured["stats"]["rounds"] > 1
    assert "queries" in measured["extra_info"]["warm-up"]


def test_one_query_is_run_where_benchmarks_are_disabled(tmp_path: Path) -> None:
    assert "kept 1 asked 1" in run(tmp_path, "--benchmark-disable")
