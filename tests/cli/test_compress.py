"""``edgecell compress`` as people run it, on a tiny net: whole, killed, refused, exported."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import compress_child
from support.chain_models import CHAIN
from support.command_line import invoke
from support.tiny_training import chain_run

from edgecell.drawn_cells import write_drawn_cells
from edgecell.tasks.compressing_request import Request, find_unfinished
from edgecell_runtime.errors import RunError
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run, find_run

SIZE = 8_200
SAME = ("split.csv", "history.csv", "answers.csv", "patients.csv", "config.toml")
OPTIONS = ("--max-size", f"{SIZE}", "--max-drop", "100", "--epochs", "3")


@pytest.fixture(autouse=True)
def _chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "chain", CHAIN)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return chain_run(tmp_path_factory.mktemp("source"))


def _child(where: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(compress_child.__file__), where, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, check=False, timeout=400, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def document(source: Run, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a compression said that nobody interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    done = _child("never", "compress", source.folder, *OPTIONS, "--out", runs, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def whole(document: Any) -> Run:
    return find_run(Path(document["run"]))


@pytest.mark.slow
def test_compressed_run_keeps_the_split_of_its_source(source: Run, whole: Run) -> None:
    assert whole.split() == source.split()
    assert whole.record.data.sha256 == source.record.data.sha256
    assert whole.record.preset == "chain-compressed"
    assert [path.name for path in whole.folder.parent.iterdir() if "search" in path.name] == []


@pytest.mark.slow
def test_compressed_run_says_what_was_asked_and_found(
    source: Run, whole: Run, document: Any
) -> None:
    points = document["compression"]["points"]
    assert [point["kind"] for point in (points[0], points[-1])] == ["source", "final"]
    sizes = [point["size_bytes"] for point in points[:-1]]
    assert sizes == sorted(sizes, reverse=True)
    assert points[-1]["size_bytes"] <= SIZE < points[0]["size_bytes"]
    stored = json.loads((whole.folder / "compression" / "search.json").read_text())
    assert stored == document["compression"]
    with (whole.folder / "compression" / "frontier.csv").open(newline="") as file:
        assert [int(row["size_bytes"]) for row in csv.DictReader(file)] == [
            point["size_bytes"] for point in points
        ]
    note = whole.record.training_notes[0]
    assert source.folder.name in note
    assert source.record.weights_sha256[:16] in note
    assert f"{SIZE:,} bytes" in note


@pytest.mark.slow
def test_exported_file_keeps_the_limit(
    whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("export", whole.folder, "--format", "tflite", "--quantize", "int8")
    done = invoke(capsys, *asked, "--out", tmp_path, "--tolerance", "5")
    assert done.status == 0, done.err
    (file,) = tmp_path.glob("*.tflite")
    assert file.stat().st_size <= SIZE


@pytest.mark.slow
def test_config_of_a_compressed_run_repeats_its_last_training(
    whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = whole.folder / "config.toml"
    done = invoke(capsys, "train", "--config", config, "--out", tmp_path, "--json")
    assert done.status == 0, done.err
    again = find_run(Path(done.document["run"]))
    assert again.record.weights_sha256 == whole.record.weights_sha256
    assert (again.folder / "answers.csv").read_bytes() == (
        whole.folder / "answers.csv"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["step", "tuning", "report"])
def test_killed_compression_goes_on_and_ends_as_if_it_had_not_been(
    where: str, source: Run, whole: Run, document: Any, tmp_path: Path
) -> None:
    killed = _child(where, "compress", source.folder, *OPTIONS, "--out", tmp_path)
    assert killed.returncode == -signal.SIGKILL
    done = _child("never", "compress", "--resume", "latest", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    run = find_run(Path(found["run"]))
    assert run.record.weights_sha256 == whole.record.weights_sha256
    for name in SAME:
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    timed = ("latency_ms", "speed")
    for one, other in zip(
        found["compression"]["points"], document["compression"]["points"], strict=True
    ):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock"))
    assert left == sorted([run.folder.name, "latest"]), "no litter"


@pytest.mark.slow
def test_limits_that_no_net_meets_fail_and_keep_the_frontier(source: Run, tmp_path: Path) -> None:
    asked = ("--max-macs", "1k", "--epochs", "1")
    done = _child("never", "compress", source.folder, *asked, "--out", tmp_path)
    assert done.returncode == 1, "a convolution keeps two channels, and its map"
    assert "No net was found within 1,000 MACs, 0.5 points" in done.stderr
    assert "the nearest: " in done.stderr
    (folder,) = tmp_path.glob("*-search")
    assert "step" in (folder / "frontier.csv").read_text()
    assert (folder / "frontier.png").is_file()
    assert not list(tmp_path.glob("latest"))
    with pytest.raises(RunError, match="no unfinished compression"):
        find_unfinished(Request(None, None, out=tmp_path, resume="latest"))


def test_images_of_another_set_are_refused_before_they_are_read(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drawn_cells(tmp_path / "other.zip", count=40, patients=20, seed=3)
    asked = ("--max-macs", "1k", "--data", tmp_path / "other.zip", "--out", tmp_path / "runs")
    done = invoke(capsys, "compress", source.folder, *asked)
    assert done.status == 1
    assert "does not hold the images of the run" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "There is no limit to compress to"),
        (("--max-size", "small"), "--max-size small cannot be read"),
        (("--max-macs", "1M", "--set", "seed=4"), "a compression keeps the seed of its source"),
        (("--max-macs", "1M", "--set", "model=other.keras"), "keeps the model of its source"),
        (("--max-macs", "1M", "--set", "epochs=0"), "epochs is 0"),
        (("--max-macs", "1M", "--epochs", "3", "--set", "epochs=8"), "epochs is given twice"),
        (("--max-macs", "1M", "--set", "schedule.kind=constant"), "on a cosine that ends with"),
        (("--max-macs", "1M", "--set", "schedule.patience=3"), "Leave patience out"),
        (
            ("--max-macs", "1M", "--epochs", "8", "--set", "schedule.warmup_epochs=4.5"),
            "a warm-up of half of them at most",
        ),
    ],
)
def test_compression_is_refused_before_anything_slow(
    arguments: tuple[str, ...],
    words: str,
    source: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = invoke(capsys, "compress", source.folder, *arguments, "--out", tmp_path / "runs")
    assert done.status == 2
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "runs").exists()
