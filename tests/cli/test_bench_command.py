"""``edgecell bench`` from the command line to the result, on hand-made graphs."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support import artifacts
from support.command_line import invoke, latest_run, positive_probability, seal, write_cells
from support.tiny_bench import WISHES

from edgecell.tasks.bench import asking
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import MLPERF_SECONDS
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import UsageError
from edgecell_train.runs import ANSWERS, csv_text

P, U = artifacts.LABELS
CELLS = {f"C{i % 4}P{i % 4}thinF_IMG_{i}.png": (P, U, U)[i % 3] for i in range(24)}
SHORT = ("--seconds", "0.05", "--queries", "30", "--processes", "1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells", CELLS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


def test_progress_is_shown_on_a_terminal(
    data: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal then
    outcome = invoke(capsys, "bench", model, "--data", data, *SHORT, "--threads", "1")
    assert outcome.status == 0, outcome.err
    assert "100%" in outcome.err


def test_row_has_the_right_answers_of_the_queries_that_were_timed(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    chosen = ("--scenarios", "single_stream", "--stage", "pipeline", "--threads", "1")
    outcome = invoke(
        capsys, "bench", model, "--data", data, *SHORT, *chosen, "--output", file, "--json"
    )
    assert outcome.status == 0, outcome.err
    found = codec.loads(Benchmark, file.read_text(), "result")
    assert json.loads(outcome.out) == json.loads(file.read_text())
    (row,) = found.rows
    assert (found.images, row.scenario, row.stage, row.threads) == (
        "given",
        "single_stream",
        "pipeline",
        1,
    )
    assert row.latency is not None
    assert row.latency.count >= 30
    assert row.evaluation is not None
    assert (row.evaluation.n, row.evaluation.patients, row.images) == (24, 4, 24)
    right = [
        (positive_probability(seed) >= 0.5) == (label == P)
        for seed, label in enumerate(CELLS.values())
    ]
    assert row.evaluation.accuracy.value == pytest.approx(sum(right) / len(right))
    assert row.macs
    assert row.operators


def test_held_out_images_of_the_run_are_measured_on_and_held_against_its_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    with (run.folder / ANSWERS).open(newline="") as file:
        head, first, *others = csv.reader(file)
    first[3:5] = first[4], first[3]  # another share than a half is changed
    (run.folder / ANSWERS).write_text(csv_text(head, [first, *others]))
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "bench", *SHORT, "--scenarios", "single_stream", "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.document["rows"]
    assert outcome.document["images"] == "held-out"
    assert row["images"] == len(run.answers())
    changed = []
    with run.open_images() as images, Classifier.open(run.exports / "tiny-float32.onnx") as opened:
        for answer in run.answers():
            image = images.get(answer.image.name)
            assert image is not None
            before = opened.labels[int(np.argmax(answer.probabilities))]
            changed.append(opened.predict(images.read(image)).label != before)
    assert row["changed_labels"] == pytest.approx(np.mean(changed))
    assert 2 * sum(changed) != len(changed), "else the others could have been counted"


def test_artifact_without_images_is_measured_on_patterns_and_says_so(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "bench", model, *SHORT, "--scenarios", "single_stream", "--json")
    assert outcome.status == 0
    assert "measured on patterns, and right answers are not" in outcome.err
    (row,) = outcome.document["rows"]
    assert (outcome.document["images"], row["evaluation"]) == ("golden", None)


def test_damaged_artifact_is_skipped_with_status_3(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:-40])
    outcome = invoke(
        capsys, "bench", model, damaged, *SHORT, "--scenarios", "single_stream", "--json"
    )
    assert outcome.status == 3
    assert len(outcome.document["rows"]) == 1
    (skipped,) = outcome.document["skipped"]
    assert skipped["target"]["artifact"] == str(damaged)


def test_old_artifact_is_measured_by_turns_with_the_new_one_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = seal(tmp_path / "old" / "tiny.onnx", artifacts.tiny_manifest("onnx"))
    new = seal(tmp_path / "new" / "tiny.onnx", artifacts.tiny_manifest("onnx"))
    arguments = (new, "--compare", old, "--fail-above", "50", "--scenarios", "single_stream")
    outcome = invoke(capsys, "bench", *arguments, *SHORT, "--json")
    assert outcome.status == 0, outcome.err
    comparison = outcome.document["comparison"]
    (row,) = comparison["rows"]
    assert (comparison["method"], row["artifact"], row["same_file"]) == (
        "interleaved",
        "tiny.onnx",
        True,
    )


def test_result_of_another_day_is_compared_relative_to_the_reference_kernel(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.json"
    arguments = (model, *SHORT, "--scenarios", "single_stream")
    assert invoke(capsys, "bench", *arguments, "--output", file).status == 0
    outcome = invoke(capsys, "bench", *arguments, "--compare", file, "--fail-above", "50", "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.document["comparison"]["method"] == "reference"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--scenarios", "multi"), 2, "--scenarios has 'multi'"),
        (("--scenarios", ","), 2, "--scenarios is empty"),
        (("--threads", "1,0"), 2, "--threads has '0'"),
        (("--engines", "tensorrt"), 2, "--engines has 'tensorrt'"),
        (("--pin", "0,-1"), 2, "--pin has '-1'"),
        (("--mlperf", "--seconds", "2"), 2, "give one of them"),
        (("--compare", "gone.json"), 2, "gone.json cannot be read"),
        (("--device", "http://pi"), 2, "is no device"),
        (("--device", "ssh://pi", "--compare", "x.onnx"), 2, "--compare measures here"),
        (("--stage", "pipeline"), 2, "give labelled images with --data"),
        (("--output", "result.png"), 2, "has the suffix '.png'"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(
    model: Path,
    arguments: tuple[str, ...],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "bench", model, *SHORT[2:], *arguments)
    assert (outcome.status, outcome.out) == (status, "")
    assert said in outcome.err


def test_wishes_become_a_plan() -> None:
    wishes = dataclasses.replace(
        WISHES,
        scenarios="cold, single_stream",
        threads="2,auto,2",
        engines="litert",
        cpus="1,0",
        mlperf=True,
        queries=7,
        rate=5.0,
    )
    request = asking.request_of((), None, wishes)
    assert request.plan.scenarios == ("single_stream", "cold")
    assert (request.plan.min_seconds, request.plan.min_queries) == (MLPERF_SECONDS, 7)
    assert request.plan.max_seconds > MLPERF_SECONDS
    assert request.plan.rate_hz == 5.0
    assert (request.threads, request.engines, request.cpus) == ((2, 0), ("litert",), (1, 0))


def test_artifact_cannot_be_old_and_new(model: Path) -> None:
    request = asking.request_of((model,), None, WISHES)
    with pytest.raises(UsageError, match="is both old and new"):
        asking.old_of([model]).beside(request)
