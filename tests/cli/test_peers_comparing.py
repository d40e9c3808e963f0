"""The rounds and rows of ``benchmarks/bench_peers.py``: who is held against what."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import peers
import pytest
from peers import comparing, own, rows
from peers.comparing import Settings, compare, missing
from peers.layers_child import LAYERS, Layer, LayerTimes, measure
from peers.rows import agreement, ratio_with_rounding, tables
from peers.tool import Call, Reading, Tool, Trial
from support import artifacts, benchmarks, models

from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bench.results import Flag, Row
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.errors import EngineError, UsageError
from edgecell_runtime.manifest import Figure

MEDIANS: dict[Layer, float] = {"engine": 0.8, "session": 1.0, "rotated": 1.01, "bench": 1.05}
BENCH_MS = 1.1


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return read_artifact(artifacts.write_artifact(tmp_path, "onnx"))


@pytest.fixture
def inputs(artifact: Artifact, tmp_path: Path) -> own.Inputs:
    return own.write_inputs(artifact, tmp_path / "inputs")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """edgecell's own measurements are made up, and counted; one engine is installed."""
    counted: collections.Counter[str] = collections.Counter()

    def layers(*_: object) -> dict[Layer, LayerTimes]:
        counted["layers"] += 1
        return {name: LayerTimes(name, 500, ms, 2 * ms) for name, ms in MEDIANS.items()}

    def bench_row(*_: object) -> Row:
        counted["bench"] += 1
        load = Flag("load", f"other processes took {40 + counted['bench']} %")
        return benchmarks.row(ms=BENCH_MS, flags=(load,))

    monkeypatch.setattr(own, "installed_engines", lambda _artifact: ["onnxruntime"])
    monkeypatch.setattr(own, "layers", layers)
    monkeypatch.setattr(own, "bench_row", bench_row)
    monkeypatch.setattr(comparing, "run", lambda tool, trial: tool.read("", trial))
    return counted


def fake(name: str, reading: Reading | None, layer: Layer = "session") -> Tool:
    """A tool that says this, or fails."""

    def read(_text: str, _trial: Trial) -> Reading:
        if reading is None:
            raise EngineError(f"{name} ended with status 1: no memory")
        return reading

    return Tool(
        name=name,
        engines=("onnxruntime",),
        layer=layer,
        times="a call",
        remarks=("made up",),
        find=lambda: "/bin/true",
        call=lambda found, _trial: Call((found,)),
        read=read,
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.96, 1.04, "yes"),
        (0.95, 1.05, "yes"),
        (0.94, 1.01, "open"),
        (0.9, 1.2, "open"),
        (1.06, 1.2, "no"),
        (0.7, 0.94, "no"),
    ],
)
def test_agreement_asks_for_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert agreement(Figure((low + high) / 2, low, high)) == verdict


def test_ratio_is_paired_by_round() -> None:
    ours = np.random.default_rng(0).uniform(1, 9, 12).tolist()
    found = ratio_with_rounding([2 * one for one in ours], ours, 0.0)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_interval_holds_what_a_tool_rounds_away() -> None:
    found = ratio_with_rounding([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], 0.01)
    assert (found.value, found.low, found.high) == pytest.approx((1, 0.99, 1.01))


def test_everything_is_measured_once_a_round(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    asked: list[Path] = []
    tool = fake("quick", Reading(1.0, 1.0))

    def read(_text: str, trial: Trial) -> Reading:
        asked.append(trial.folder)
        return Reading(1.0, 1.0)

    compare(artifact, [dataclasses.replace(tool, read=read)], inputs, Settings(rounds=5))
    assert measured == {"layers": 5 + 1, "bench": 5}  # one look before says how many queries
    assert len(set(asked)) == 5, "each trial has a folder of its own"


def test_tool_is_held_against_its_layer_and_against_bench(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    tools = [fake("call", Reading(1.0, 7.0)), fake("inside", Reading(0.88, 7.0), "engine")]
    found = compare(artifact, tools, inputs, Settings(rounds=3))
    call, inside = found.rows
    assert (call.edgecell_ms, call.within) == (1.0, "yes")
    assert call.bench_ratio.value == pytest.approx(1 / BENCH_MS)
    assert call.bench_within == "no"
    assert (inside.edgecell_ms, inside.within) == (0.8, "no")
    assert {call.statistic, inside.statistic} == {"median"}


def test_mean_is_held_against_means(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    (row,) = compare(artifact, [fake("mean", Reading(None, 2.0))], inputs, Settings(3)).rows
    assert (row.statistic, row.tool_ms, row.edgecell_ms, row.within) == ("mean", 2.0, 2.0, "yes")
    assert row.bench_ratio.value == pytest.approx(2.0 / benchmarks.latency(BENCH_MS).mean_ms)


def test_rounding_is_a_remark_where_it_matters(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    tools = [fake("coarse", Reading(0.5, 0.5, 0.01)), fake("fine", Reading(5.0, 5.0, 0.01))]
    coarse, fine = compare(artifact, tools, inputs, Settings(rounds=2)).rows
    assert coarse.remarks == ("made up", "printed to 0.01 ms, 2.0% of it")
    assert fine.remarks == ("made up",)


def test_failing_tool_is_left_out_with_its_last_line_and_the_others_go_on(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    tools = [fake("broken", None), fake("sound", Reading(1.0, 1.0))]
    found = compare(artifact, tools, inputs, Settings(rounds=3))
    assert [row.tool for row in found.rows] == ["sound"]
    assert found.left_out == ("tiny.onnx in onnxruntime: broken ended with status 1: no memory",)


def test_missing_tool_is_left_out_and_named(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    absent = dataclasses.replace(fake("absent", Reading(1.0, 1.0)), find=lambda: None)
    assert compare(artifact, [absent], inputs, Settings(rounds=2)).rows == ()
    assert missing([absent, fake("present", None)]) == ("Not installed: absent.",)


def test_layers_say_what_each_adds(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    (row,) = compare(artifact, [], inputs, Settings(rounds=2)).layers
    assert row.added_us == pytest.approx({"session": 200, "rotated": 10, "bench": 40})
    assert row.bench_ratio.value == pytest.approx(BENCH_MS / MEDIANS["bench"])
    assert row.disturbed == ("other processes took 41 %",), "the first of each condition"


def test_tables_have_a_note_once_for_all_rows_that_it_is_about(
    artifact: Artifact, inputs: own.Inputs, measured: collections.Counter[str]
) -> None:
    found = compare(artifact, [fake("one", Reading(1.0, 1.0))], inputs, Settings(rounds=2))
    times, notes, layers = tables([found, found])
    assert [row[-1] for row in times.rows] == ["[1]", "[1]"]
    assert notes.rows == [("[1]", "one", "a call", rows.LAYER_WORDS["session"], "made up")]
    assert all(len(row) == len(table.columns) for table in (times, layers) for row in table.rows)


# edgecell's own side


def test_inputs_of_a_fixed_batch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch.onnx"
    path.write_bytes(artifacts.tiny_artifact("onnx", batch=4))
    with pytest.raises(UsageError, match="takes batches of 4"):
        own.write_inputs(read_artifact(path), tmp_path / "inputs")


def test_trial_is_of_one_image_and_as_many_queries_as_fit(
    artifact: Artifact, inputs: own.Inputs
) -> None:
    trial = own.trial_of(artifact, "onnxruntime", inputs, seconds=2.0, query_ms=0.5)
    assert (trial.shape, trial.input_name, trial.queries) == ((1, *models.SIZE), "pixels", 4000)
    assert np.load(trial.pixels).shape == trial.shape


def test_layers_are_timed_in_one_session(artifact: Artifact, inputs: own.Inputs) -> None:
    with ENGINES["onnxruntime"].open(artifact.data, 1) as session:
        found = measure(session, artifact, inputs.images, 0.01)
    assert [one.layer for one in found.layers] == [name for name in LAYERS if name != "engine"]
    assert all(one.queries > 0 and one.median_ms > 0 for one in found.layers)


def test_bench_row_is_single_stream_of_the_stage_model(
    artifact: Artifact, inputs: own.Inputs
) -> None:
    row = own.bench_row(artifact, "onnxruntime", inputs, 0.01)
    assert (row.scenario, row.stage, row.threads) == ("single_stream", "model", 1)
    assert row.engine.startswith("onnxruntime")


def test_layers_process_that_fails_is_named(artifact: Artifact, inputs: own.Inputs) -> None:
    artifact.path.write_bytes(b"no artifact")
    with pytest.raises(EngineError, match="The layers could not be timed in onnxruntime: "):
        own.layers(artifact, "onnxruntime", inputs, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_installed_tools_time_a_tiny_artifact(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By it pytest-benchmark, which is one of them, would take itself for a worker and not measure.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    found = read_artifact(artifacts.write_artifact(tmp_path, form))
    inputs = own.write_inputs(found, tmp_path / "inputs")
    compared = compare(found, list(peers.TOOLS.values()), inputs, Settings(2, 0.2))
    engines = {row.engine for row in compared.layers}
    wanted = {
        (tool.name, engine)
        for tool in peers.TOOLS.values()
        if tool.find()
        for engine in engines & set(tool.engines)
    }
    # It prints two digits after the point of a millisecond, and this graph takes microseconds.
    wanted -= {("litert-benchmark", "litert")}
    assert {(row.tool, row.engine) for row in compared.rows} == wanted, compared.left_out
