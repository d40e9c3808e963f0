"""A whole benchmark, with processes of a fake engine and of the real ones."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import artifacts, models
from support.tiny_bench import FAKE, IMAGES, SHORT, write_job

from edgecell_runtime import codec
from edgecell_runtime.bench.messages import Opening
from edgecell_runtime.bench.plan import Plan
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.bench.running import Measurement, read_job, run_job, write_measurement
from edgecell_runtime.bench.workers import Launch, WorkerProcess
from edgecell_runtime.errors import EngineError, UsageError
from edgecell_runtime.heads import Head

ALL = dataclasses.replace(
    SHORT, scenarios=("single_stream", "offline", "paced", "cold"), rate_hz=500.0, processes=2
)


def _run(
    folder: Path, *names: str, plan: Plan = SHORT, launch: Launch = FAKE, reference: bool = False
) -> Measurement:
    return run_job(write_job(folder, names, plan, reference=reference), folder, launch)


def _expected() -> np.ndarray:
    logits = models.expected_logits(models.random_pixels(IMAGES, seed=1)).astype(np.float32)
    return Head("softmax").probabilities(logits.astype(np.float64), artifacts.LABELS)


def test_every_target_has_a_row_in_every_scenario(tmp_path: Path) -> None:
    found = _run(tmp_path, "spins-200us.onnx", "spins-100us.onnx", plan=ALL, reference=True)
    rows = found.benchmark.rows
    names = ["spins-200us.onnx", "spins-100us.onnx"]
    assert [(row.scenario, row.artifact) for row in rows] == [
        (scenario, name) for scenario in ALL.scenarios for name in names
    ]
    assert found.benchmark.skipped == ()
    assert [(ratio.row, ratio.base) for ratio in found.benchmark.ratios] == [
        (1, 0),
        (3, 2),
        (5, 4),
        (7, 6),
    ]
    assert all(row.relative is not None for row in rows)
    assert found.benchmark.reference_ms is not None
    for row in rows[:2]:
        assert row.latency is not None
        assert row.latency.count >= SHORT.min_queries
        assert row.warmup_queries > 0
    for row in rows[2:4]:
        assert row.images_per_second is not None
        assert [rate.batch for rate in row.batches] == [1, 4]
    for row in rows[6:]:
        assert row.cold is not None
        assert row.cold.processes == ALL.cold_starts
        assert row.cold.total_ms.value >= row.cold.import_ms + row.cold.load_ms


@pytest.mark.parametrize("stage", ["model", "pipeline"])
def test_answers_are_those_of_the_queries_that_were_timed(tmp_path: Path, stage: str) -> None:
    plan = dataclasses.replace(
        ALL, scenarios=("single_stream", "offline", "paced"), stage=stage, processes=1
    )
    found = _run(tmp_path, "spins-50us.onnx", plan=plan)
    for row, answers in zip(found.benchmark.rows, found.answers, strict=True):
        assert row.images == IMAGES
        assert answers == pytest.approx(_expected(), abs=1e-6)


def test_images_that_were_not_asked_for_have_no_answer(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, min_queries=2, block_seconds=1e-6)
    found = _run(tmp_path, "spins-50us.onnx", plan=plan)
    asked = ~np.isnan(found.answers[0]).any(axis=1)
    assert asked.sum() == found.benchmark.rows[0].images == 2
    assert found.answers[0][asked] == pytest.approx(_expected()[asked], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dies.onnx", "ended with status 7: the engine is out of order"),
        ("fails.onnx", "The fake engine failed."),
    ],
)
def test_target_that_fails_is_left_out_and_the_others_go_on(
    tmp_path: Path, name: str, reason: str
) -> None:
    found = _run(tmp_path, name, "spins-50us.onnx", plan=ALL).benchmark
    assert {row.artifact for row in found.rows} == {"spins-50us.onnx"}
    assert {row.scenario for row in found.rows} == set(ALL.scenarios)
    (skipped,) = found.skipped
    assert skipped.target.artifact == name
    assert reason in skipped.reason


def test_process_that_was_killed_is_not_blamed_on_what_it_printed_last() -> None:
    program = (
        "import os, signal, sys; print('INFO: Created a delegate.', file=sys.stderr, flush=True);"
        "os.kill(os.getpid(), getattr(signal, sys.argv[1]))"
    )
    opening = Opening(None, "model", "", 1, 0, 0)
    for name, said in (("SIGKILL", "ended from outside (SIGKILL)"), ("SIGABRT", "signal SIGABRT.")):
        launch = Launch((sys.executable, "-c", program, name))
        with WorkerProcess(opening, launch) as worker, pytest.raises(EngineError) as caught:
            worker.receive()
        assert said in str(caught.value)
        assert "INFO" not in str(caught.value)


def test_target_that_hangs_is_ended(tmp_path: Path) -> None:
    launch = dataclasses.replace(FAKE, turn_seconds=1.0)
    plan = dataclasses.replace(SHORT, max_seconds=0.5)
    found = _run(tmp_path, "hangs.onnx", "spins-50us.onnx", plan=plan, launch=launch).benchmark
    assert [row.artifact for row in found.rows] == ["spins-50us.onnx"]
    assert "did not answer" in found.skipped[0].reason


def test_what_an_engine_prints_disturbs_nothing(tmp_path: Path) -> None:
    found = _run(tmp_path, "chatters.onnx").benchmark
    assert found.skipped == ()
    assert len(found.rows) == 1


def test_file_that_is_no_artifact_is_left_out(tmp_path: Path) -> None:
    job = write_job(tmp_path, ["spins-50us.onnx", "broken.onnx"])
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    found = run_job(job, tmp_path, FAKE).benchmark
    assert [row.artifact for row in found.rows] == ["spins-50us.onnx"]
    assert "broken.onnx is refused" in found.skipped[0].reason


def test_row_says_when_it_is_shorter_than_asked_for(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, min_queries=10_000, max_seconds=0.2)
    (row,) = _run(tmp_path, "spins-1000us.onnx", plan=plan).benchmark.rows
    assert "of 10,000 queries" in {flag.condition: flag.words for flag in row.flags}["short"]


def test_row_says_when_ticks_were_missed(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, scenarios=("paced",), rate_hz=1000.0)
    (row,) = _run(tmp_path, "spins-3000us.onnx", plan=plan).benchmark.rows
    assert "missed_ticks" in {flag.condition for flag in row.flags}


def test_real_engines_are_measured_and_named(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, scenarios=("single_stream", "cold"), cold_starts=1)
    found = _run(tmp_path, "tiny.tflite", "tiny.onnx", plan=plan, launch=Launch())
    rows = found.benchmark.rows
    assert found.benchmark.skipped == ()
    assert [row.engine.split()[0] for row in rows] == ["litert", "onnxruntime"] * 2
    assert all(row.peak_memory_bytes for row in rows if sys.platform == "linux")
    for answers in found.answers[:2]:
        assert answers == pytest.approx(_expected(), abs=1e-4)


def test_command_writes_the_result_and_says_how_far_it_is(tmp_path: Path) -> None:
    write_job(tmp_path / "job", ["tiny.tflite"])
    command = [sys.executable, "-m", "edgecell_runtime.bench", tmp_path / "job", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '{"done": 0.0, "words": "opening tiny.tflite"}' in done.stdout.splitlines()
    text = (tmp_path / "out/benchmark.json").read_bytes()
    assert len(codec.loads(Benchmark, text, "benchmark").rows) == 1
    with np.load(tmp_path / "out/answers.npz") as answers:
        assert answers["row-0"] == pytest.approx(_expected(), abs=1e-4)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_interrupted_command_leaves_no_process(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, min_seconds=60.0, max_seconds=60.0)
    write_job(tmp_path / "job", ["tiny.tflite"], plan)
    command = [sys.executable, "-m", "edgecell_runtime.bench", tmp_path / "job", tmp_path / "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "single_stream" not in process.stdout.readline():
        assert process.poll() is None
    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "Error: Interrupted; nothing was written.\n")
    assert children
    assert not [pid for pid in children if _is_alive(pid)]
    assert not (tmp_path / "out").exists()


def test_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    others = set(_children(os.getpid()))
    children: list[int] = []

    def interrupt(_done: float, words: str) -> None:
        if words == "single_stream":
            children.extend(set(_children(os.getpid())) - others)
            raise KeyboardInterrupt

    job = write_job(tmp_path, ["spins-50us.onnx"], reference=True)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path, FAKE, interrupt)
    assert len(children) >= 2
    assert not [pid for pid in children if _is_alive(pid)]


def test_measuring_loads_no_heavy_library() -> None:
    program = (
        "import sys, edgecell_runtime.bench.running, edgecell_runtime.bench.worker;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"scipy", "tensorflow", "onnxruntime", "ai_edge_litert", "edgecell", "matplotlib"}
    assert not heavy & set(done.stdout.split())


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, min_seconds=60.0, max_seconds=60.0)
    write_job(tmp_path / "job", ["tiny.tflite"], plan)
    command = [sys.executable, "-m", "edgecell_runtime.bench", tmp_path / "job", tmp_path / "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "single_stream" not in process.stdout.readline():
        assert process.poll() is None
    children = _children(process.pid)
    process.kill()
    process.communicate()
    assert children
    for _ in range(600):
        if not [pid for pid in children if _is_alive(pid)]:
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived the command")


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("the system does not list a process's children")
    return [int(word) for word in path.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state not in "ZX"


@pytest.mark.parametrize("text", [None, "{}", "no JSON"])
def test_folder_without_a_job_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    with pytest.raises(UsageError, match="holds no benchmark"):
        read_job(tmp_path)


def test_job_of_nothing_is_refused(tmp_path: Path) -> None:
    job = dataclasses.replace(write_job(tmp_path, []), targets=())
    with pytest.raises(UsageError, match="at least one artifact"):
        run_job(job, tmp_path)


def test_cold_starts_alone_name_engine_and_threads(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, scenarios=("cold",))
    found = _run(tmp_path, "spins-50us.onnx", plan=plan)
    (row,) = found.benchmark.rows
    assert (row.engine, row.threads, row.images) == ("fake", 1, 0)
    assert found.answers[0].shape == (IMAGES, len(artifacts.LABELS))


@pytest.mark.parametrize(
    "wrong",
    [
        {"processes": 0},
        {"batches": (4, 0)},
        {"batches": ()},
        {"scenarios": ()},
        {"min_seconds": 5.0},
        {"max_seconds": float("nan")},
        {"rate_hz": 0.0},
        {"block_seconds": 0.0},
    ],
)
def test_plan_refuses_what_cannot_be_measured(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"1 or more|above 0"):
        dataclasses.replace(SHORT, **wrong)  # type: ignore[arg-type]


def test_written_measurement_reads_back(tmp_path: Path) -> None:
    found = _run(tmp_path, "spins-50us.onnx")
    write_measurement(found, tmp_path / "out")
    text = (tmp_path / "out/benchmark.json").read_bytes()
    assert codec.loads(Benchmark, text, "benchmark") == found.benchmark
