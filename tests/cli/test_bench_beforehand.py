"""``edgecell bench``: what is refused before measuring, and what is kept after it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
from support import artifacts
from support.command_line import invoke, latest_run, seal, write_cells
from support.tiny_bench import WISHES

from edgecell.tasks.bench import asking, formats, running
from edgecell.tasks.bench.images import choose
from edgecell.tasks.bench.words import paced_words
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench.plan import Plan
from edgecell_runtime.errors import DataError, EngineError, StorageError, UsageError
from edgecell_runtime.labelled import data_sha256, open_labelled
from edgecell_runtime.stored_images import image_sha256
from edgecell_train.runs import Run, find_run

P, U = artifacts.LABELS
CELLS = {f"C{i % 4}P{i % 4}thinF_IMG_{i}.png": (P, U)[i % 2] for i in range(8)}
SHORT = (
    *("--seconds", "0.01", "--queries", "5", "--processes", "1"),
    *("--scenarios", "single_stream", "--threads", "1"),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: Any) -> NoReturn:
        pytest.fail("it was measured before it was refused")

    monkeypatch.setattr(running, "run_job", measured)


def old_result(model: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = model.parent / "old.json"
    assert invoke(capsys, "bench", model, *SHORT, "--output", file).status == 0
    return file


# Before


@pytest.mark.usefixtures("measuring_fails")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fail-above", "1.1"), "--fail-above is of a comparison, and there is none"),
        (("--fail-above", "nan", "--compare", "x.json"), "expected 1 or more"),
        (("--engines", ","), "--engines is empty"),
        (("--threads", ",,"), "--threads is empty"),
        (("--pin", ","), "--pin is empty"),
        (("--wheelhouse", "wheels"), "are of devices, and none is named"),
        (("--keep",), "--keep is of devices, and none is named"),
        (("--engines", "litert"), "tiny.onnx is onnx, for onnxruntime"),
        (("--engines", "tensorflow"), "Not one artifact runs in tensorflow"),
        (("--compare", "empty"), "neither a run nor a SavedModel"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    model: Path,
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(model.parent)
    Path("empty").mkdir()
    outcome = invoke(capsys, "bench", model, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err


@pytest.mark.usefixtures("measuring_fails")
def test_damaged_old_artifact_is_refused_before_measuring(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:-40])
    outcome = invoke(capsys, "bench", model, "--compare", damaged, *SHORT)
    assert (outcome.status, outcome.out) == (1, "")
    assert "damaged.onnx is refused" in outcome.err


def test_old_result_that_cannot_be_compared_with_is_refused_before_measuring(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = old_result(model, capsys)
    monkeypatch.setattr(running, "run_job", lambda *_: pytest.fail("it was measured"))
    outcome = invoke(capsys, "bench", model, *SHORT[:-1], "2", "--compare", file)
    assert outcome.status == 2
    assert "threads: 1, now 2" in outcome.err
    document = json.loads(file.read_bytes())
    document["rows"][0]["relative"] = None
    document["reference_note"] = "The measuring process ended with status 7."
    file.write_text(json.dumps(document))
    outcome = invoke(capsys, "bench", model, *SHORT, "--compare", file)
    assert outcome.status == 2
    assert "without the reference kernel (The measuring process ended with" in outcome.err
    file.write_text(json.dumps({**document, "rows": []}))
    outcome = invoke(capsys, "bench", model, *SHORT, "--compare", file)
    assert outcome.status == 2
    assert "has no rows" in outcome.err


def test_paced_says_how_long_it_takes_and_ends_as_the_plan_has_it() -> None:
    once = Plan(scenarios=("paced",), rate_hz=0.01, min_queries=1, min_seconds=3.0, processes=1)
    assert once.paced_seconds == 100.0
    assert once.paced_block_seconds == 100.0
    assert "will take 100 s for each target: at least 1 and 3 s at 0.01 Hz" in paced_words(once)
    usual = Plan(scenarios=("paced",), rate_hz=30.0)
    assert usual.paced_seconds == pytest.approx(1024 / 30, rel=0.05)
    assert paced_words(usual) == ""
    slow = dataclasses.replace(WISHES, scenarios="paced", rate=0.01, queries=1, processes=1)
    plan = asking.request_of((), None, slow).plan
    assert plan.max_seconds == pytest.approx(150.0)
    assert asking.request_of((), None, WISHES).plan.max_seconds == 30.0


@pytest.mark.usefixtures("measuring_fails")
def test_newest_run_with_artifacts_is_named_when_the_latest_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = latest_run(tmp_path / "runs", ("onnx", "float32"))
    other = run.folder.parent / "earlier"
    shutil.copytree(run.folder, other)
    shutil.rmtree(run.exports)
    outcome = invoke(capsys, "bench")
    assert outcome.status == 1
    assert "The newest that has some: `edgecell bench runs/earlier`." in outcome.err


# The images


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return latest_run(tmp_path / "runs", ("onnx", "float32"))


def chosen(run: Run, data: Path) -> str:
    artifact = read_artifact(run.exports / "tiny-float32.onnx")
    return choose([artifact], data, 0).kind


def test_data_is_the_runs_images_where_it_has_them_all_and_others_where_it_has_none(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run.folder / run.record.data.location, moved)
    assert chosen(run, moved) == "held-out"
    for answer in run.answers()[:1]:
        (moved / answer.image.name).unlink()
    with pytest.raises(DataError, match=r"taken for where the run's images are now; but 1 are"):
        chosen(run, moved)
    assert chosen(run, write_cells(tmp_path / "own", CELLS)) == "given"
    assert "has none of the run's held-out images" in capsys.readouterr().err


def test_images_of_the_training_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_cells(tmp_path / "cells", CELLS)
    with open_labelled(data) as images:
        hashes = [(image_sha256(images.read(one)), one.name) for one in images.tested_on()]
    manifest = artifacts.tiny_manifest("onnx")
    source = dataclasses.replace(manifest.source, data_sha256=data_sha256(hashes))
    path = seal(tmp_path / "tiny.onnx", dataclasses.replace(manifest, source=source))
    choose([read_artifact(path)], data, 0)
    assert "the very images that the model was made with" in capsys.readouterr().err
    (next(data.rglob("*.png"))).unlink()
    choose([read_artifact(path)], data, 0)
    assert "the very images" not in capsys.readouterr().err


def test_images_of_other_labels_are_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_cells(tmp_path / "cells", {"a.png": "cat", "b.png": "dog"})
    request = running.Request((model,), data)
    running.prepare(request, tmp_path / "job")
    assert "labels that it does not know (cat, dog)" in capsys.readouterr().err


def test_one_file_is_measured_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(model)
    request = running.Request((model, link, tmp_path / "." / ".." / tmp_path.name / model.name))
    prepared = running.prepare(request, tmp_path / "job")
    assert len(prepared.job.targets) == 1
    assert capsys.readouterr().err.count("it is measured once") == 2


def test_run_stands_for_its_artifacts(run: Run) -> None:
    request = asking.request_of((run.folder,), None, WISHES)
    assert request.artifacts == (find_run(run.folder).exports / "tiny-float32.onnx",)


# After


def test_result_is_shown_and_written_before_it_is_said_that_nothing_could_be_compared(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(*_: Any) -> NoReturn:
        raise UsageError("No row can be compared.")

    old = seal(tmp_path / "old" / "tiny.onnx", artifacts.tiny_manifest("onnx"))
    monkeypatch.setattr(asking, "compare_interleaved", nothing)
    file = tmp_path / "result.json"
    outcome = invoke(capsys, "bench", model, "--compare", old, *SHORT, "--output", file)
    assert outcome.status == 2
    assert "No row can be compared." in outcome.err
    assert "Latency" in outcome.out
    assert len(formats.read_benchmark(file).rows) == 2


def test_result_is_shown_where_the_file_cannot_be_written(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> NoReturn:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(formats, "write", full)
    outcome = invoke(capsys, "bench", model, *SHORT, "--output", tmp_path / "result.json")
    assert outcome.status == 1
    assert "The disk is full." in outcome.err
    assert "Latency" in outcome.out


def test_reference_kernel_that_dies_is_said_with_status_3(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecell_runtime.bench import running

    real = running.WorkerProcess

    def start(opening: Any, launch: Any) -> Any:
        if opening.target is None:
            raise EngineError("The measuring process ended with status 7.")
        return real(opening, launch)

    monkeypatch.setattr(running, "WorkerProcess", start)
    outcome = invoke(capsys, "bench", model, *SHORT, "--json")
    assert outcome.status == 3
    assert "The reference kernel's process failed: The measuring process ended" in outcome.err
    assert outcome.document["reference_note"] == "The measuring process ended with status 7."
    assert outcome.document["rows"][0]["relative"] is None
