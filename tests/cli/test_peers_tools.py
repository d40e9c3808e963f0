"""The tools of ``benchmarks/peers``: how each is called and read, and how one may fail."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import peers
import pytest
from peers import onnxruntime_test, tool
from peers.tool import Call, Reading, Tool, Trial, last_line, number_after
from support import artifacts, models

from edgecell_runtime.engines import ENGINES
from edgecell_runtime.errors import EngineError

ONE_THREAD = {
    "litert-benchmark": "--num_threads=1",
    "onnxruntime_perf_test": "-x 1 -y 1",
    "benchmark_app": "-nthreads 1",
}
"""How each says so; the others have no such option, and find another way."""

LITERT = {"latency": {"median_ms": 0.45, "avg_ms": 0.67, "min_ms": 0.43, "num_runs": 300}}
ONNX_MEAN = "model: edgecell\nversion: 1\niterations: 300\navg latency: 0.40922759668 ms\n"
ONNX_OLD = "Average time cost:0.52 ms\nMin Latency is 0.0003sec\nP50 Latency is 0.00048sec\n"
ONNX_NEW = "Average inference time cost: 0.52 ms\nP50 Latency: 4.8e-04 s\nP90 Latency: 0.001 s\n"
OPENVINO = "[ INFO ]    Median:        408.91 us\n[ INFO ]    Average:       684.65 us\n"
PYTEST = {"benchmarks": [{"stats": {"median": 0.0004, "mean": 0.0005}}]}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(artifacts.tiny_artifact("onnx"))
    pixels = tmp_path / "one.npy"
    return Trial(path, "onnxruntime", "pixels", (1, *models.SIZE), pixels, 2.0, 4000, tmp_path)


def stand_in(
    code: str, read: Callable[[str, Trial], Reading] = lambda _text, _trial: Reading(1.0, 1.0)
) -> Tool:
    """A tool that is a Python program."""
    return Tool(
        name="stand-in",
        engines=("onnxruntime",),
        layer="session",
        times="nothing",
        remarks=(),
        find=lambda: sys.executable,
        call=lambda found, _trial: Call((found, "-c", code), {"FROM_CALL": "told"}),
        read=read,
    )


def test_registry_refuses_a_name_that_is_taken() -> None:
    with pytest.raises(ValueError, match="'stand-in' is registered already"):
        peers.by_name([stand_in(""), stand_in("")])


def test_every_tool_times_engines_that_edgecell_has() -> None:
    assert all(set(one.engines) <= set(ENGINES) and one.engines for one in peers.TOOLS.values())


@pytest.mark.parametrize("name", ONE_THREAD)
def test_tool_is_asked_for_one_thread_and_the_artifact(name: str, trial: Trial) -> None:
    words = " ".join(peers.TOOLS[name].call("/bin/tool", trial).command)
    assert ONE_THREAD[name] in words
    assert str(trial.artifact) in words


def test_onnxruntime_listens_to_the_appended_number_of_threads(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = peers.TOOLS["onnxruntime_test"].call("/bin/tool", trial)
    for name, value in call.environment.items():
        monkeypatch.setenv(name, value)
    session = onnxruntime.InferenceSession(call.command[1], providers=["CPUExecutionProvider"])
    assert session.get_session_options().intra_op_num_threads == 1
    pixels = models.random_pixels(3)
    (found,) = session.run(None, {"pixels": pixels})
    assert found == pytest.approx(models.expected_logits(pixels), rel=1e-4, abs=1e-4)


def test_appended_configuration_leaves_the_models_bytes_as_they_are() -> None:
    model = artifacts.tiny_artifact("onnx")
    assert onnxruntime_test.with_configuration(model).startswith(model)


def test_litert_benchmark_is_read_from_its_file(trial: Trial) -> None:
    (trial.folder / "result.json").write_text(json.dumps(LITERT))
    assert peers.TOOLS["litert-benchmark"].read("", trial) == Reading(0.45, 0.67, 0.01)


def test_pytest_benchmark_is_read_from_its_file(trial: Trial) -> None:
    (trial.folder / "result.json").write_text(json.dumps(PYTEST))
    assert peers.TOOLS["pytest-benchmark"].read("", trial) == Reading(0.4, 0.5)


def test_onnxruntime_test_has_a_mean_and_no_median(trial: Trial) -> None:
    reading = peers.TOOLS["onnxruntime_test"].read(ONNX_MEAN, trial)
    assert reading == Reading(None, 0.40922759668)


@pytest.mark.parametrize("text", [ONNX_OLD, ONNX_NEW])
def test_perf_test_is_read_in_the_words_of_each_version(text: str, trial: Trial) -> None:
    reading = peers.TOOLS["onnxruntime_perf_test"].read(text, trial)
    assert (reading.median_ms, reading.mean_ms) == pytest.approx((0.48, 0.52))


@pytest.mark.parametrize(
    "text", [OPENVINO, OPENVINO.replace("us", "ms").replace("408.91", "0.40891")]
)
def test_benchmark_app_is_read_in_its_unit(text: str, trial: Trial) -> None:
    reading = peers.TOOLS["benchmark_app"].read(text, trial)
    assert reading.median_ms == pytest.approx(0.40891)


@pytest.mark.parametrize("text", ["", "Median: soon", "median 5"])
def test_number_is_missed_and_not_guessed(text: str) -> None:
    with pytest.raises(LookupError):
        number_after("Median", text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\n  b \n\n", "b"),
        ("\x1b[31mred", "[31mred"),
        ("", "it printed nothing"),
        (" \n", "it printed nothing"),
    ],
)
def test_last_line_is_the_last_with_words_and_printable(text: str, found: str) -> None:
    assert last_line(text) == found


# Running one


def test_tool_gets_its_environment_and_is_read(trial: Trial) -> None:
    words = stand_in(
        "import os; print('time:', len(os.environ['FROM_CALL']))",
        lambda text, _trial: Reading(number_after("time", text), None),
    )
    assert tool.run(words, trial).median_ms == 4.0


def test_tool_that_fails_is_named_with_its_last_line(trial: Trial) -> None:
    failing = stand_in("import sys; print('loading'); print('no such model'); sys.exit(3)")
    with pytest.raises(EngineError, match=r"^stand-in ended with status 3: no such model$"):
        tool.run(failing, trial)


def test_tool_without_its_figure_is_named_with_its_last_line(trial: Trial) -> None:
    silent = stand_in(
        "print('done')", lambda text, _trial: Reading(number_after("time", text), None)
    )
    with pytest.raises(EngineError, match=r"stand-in ended well, but .*: done$"):
        tool.run(silent, trial)


def test_tool_that_rounds_everything_away_is_refused(trial: Trial) -> None:
    coarse = stand_in("", lambda _text, _trial: Reading(0.0, 0.01, 0.01))
    with pytest.raises(EngineError, match="prints too few digits"):
        tool.run(coarse, trial)


def test_tool_that_hangs_is_ended(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "_PATIENCE_SECONDS", -19.9)
    with pytest.raises(EngineError, match=r"stand-in did not end within 0 s\."):
        tool.run(stand_in("import time; time.sleep(600)"), trial)


def test_tool_that_cannot_be_started_is_named(trial: Trial, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    text.chmod(0o755)
    broken = dataclasses.replace(stand_in(""), call=lambda _found, _trial: Call((str(text),)))
    with pytest.raises(EngineError, match="stand-in could not be started"):
        tool.run(broken, trial)
