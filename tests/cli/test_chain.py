"""The three commands, exactly as typed, one after another in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecell_export.formats import CONVERTERS
from edgecell_runtime import Classifier
from edgecell_runtime.artifact import read_artifact


@dataclass(frozen=True)
class Done:
    status: int
    output: str
    messages: str


def edgecell(folder: Path, *words: str) -> Done:
    process = subprocess.run(
        [sys.executable, "-m", "edgecell", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )
    return Done(process.returncode, process.stdout, process.stderr)


@dataclass(frozen=True)
class Chain:
    folder: Path
    train: Done
    export: Done
    bench: Done

    @property
    def exports(self) -> Path:
        return self.folder / "runs" / "latest" / "exports"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("empty")
    return Chain(
        folder,
        edgecell(folder, "train"),
        edgecell(folder, "export", "--format", "tflite"),
        edgecell(folder, "bench"),
    )


def test_three_commands_work_as_typed_in_an_empty_folder(chain: Chain) -> None:
    for done in (chain.train, chain.export, chain.bench):
        assert done.status == 0, done.messages


def test_train_says_in_plain_words_that_cells_are_drawn(chain: Chain) -> None:
    assert "cells that edgecell draws itself" in chain.train.messages
    assert "drawn cells" in chain.train.output


def test_train_leaves_a_whole_run(chain: Chain) -> None:
    found = {path.name for path in (chain.folder / "runs" / "latest").iterdir()}
    assert found == {
        "malaria-cnn.keras",
        "run.json",
        "split.csv",
        "answers.csv",
        "config.toml",
        "patients.csv",
        "history.csv",
        "history.png",
        "grad_cam.npz",
        "report.html",
        "drawn-cells.zip",
        "exports",
    }
    runs = chain.folder / "runs"
    newest = str((runs / "latest").readlink())
    assert {path.name for path in runs.iterdir()} == {newest, "latest"}


def test_drawn_cells_are_learned_so_that_parity_means_something(chain: Chain) -> None:
    record = json.loads((chain.folder / "runs/latest/run.json").read_text())
    assert record["evaluation"]["accuracy"]["value"] > 0.85
    assert record["evaluation"]["n"] >= 256


def test_export_leaves_one_artifact_beside_its_card(chain: Chain) -> None:
    names = sorted(path.name for path in chain.exports.iterdir())
    assert names == ["malaria-cnn-float32.tflite", "malaria-cnn-float32.tflite.md"]


def test_bench_shows_one_row_with_accuracy_from_held_out_images(chain: Chain) -> None:
    done = edgecell(chain.folder, "bench", "--json")
    document = json.loads(done.output)
    single, offline, cold = document["rows"]
    assert [row["scenario"] for row in document["rows"]] == ["single_stream", "offline", "cold"]
    stored = json.loads((chain.folder / "runs/latest/run.json").read_text())["evaluation"]
    for row in (single, offline):
        assert row["evaluation"]["n"] == stored["n"]
        assert row["evaluation"]["accuracy"] == pytest.approx(stored["accuracy"])
        assert row["changed_labels"] == 0
    assert single["latency"]["count"] >= 1024
    assert single["peak_memory_bytes"] > 20e6
    assert cold["cold"]["processes"] == 5
    assert "malaria-cnn-float32.tflite" in chain.bench.output


def test_commands_print_no_chatter_of_the_libraries(chain: Chain) -> None:
    text = "".join(done.output + done.messages for done in (chain.train, chain.export, chain.bench))
    for word in ("oneDNN", "cuda", "XNNPACK", "absl", "Warning", "Captures"):
        assert word not in text


@pytest.mark.slow
def test_export_of_all_lists_the_formats_that_lack_the_recipe(chain: Chain) -> None:
    done = edgecell(chain.folder, "export", "--format", "all", "--quantize", "int8", "--json")
    assert done.status == 0, done.messages
    assert "savedmodel has no static_int8" in done.messages
    written = json.loads(done.output)["artifacts"]
    assert [Path(item["path"]).name for item in written] == [
        "malaria-cnn-static_int8.tflite",
        "malaria-cnn-static_int8.onnx",
    ]
    for item in written:
        assert item["manifest"]["parity"]["changed_labels"] <= 0.01


@pytest.mark.slow
def test_loosened_export_is_marked_wherever_it_is_named(chain: Chain, tmp_path: Path) -> None:
    words = ("--format", "onnx", "--tolerance", "2", "--out", str(tmp_path))
    done = edgecell(chain.folder, "export", *words)
    assert done.status == 0, done.messages
    assert "LOOSENED" in done.output
    path = tmp_path / "malaria-cnn-float32-loosened.onnx"
    parity = read_artifact(path).manifest.parity
    assert parity is not None
    assert (parity.loosened, parity.limits.largest_difference) == (True, 2e-4)
    assert "loosened by hand" in path.with_name(f"{path.name}.md").read_text()
    assert "LOOSENED" in edgecell(chain.folder, "inspect", str(path)).output
    measured = edgecell(chain.folder, "bench", str(path))
    assert (
        "loosened: its limits of parity were widened by hand" in measured.output + measured.messages
    )


@pytest.mark.slow
def test_auto_writes_the_one_recipe_that_it_chose(chain: Chain, tmp_path: Path) -> None:
    words = ("--format", "onnx", "--recipe", "auto", "--out", str(tmp_path), "--json")
    done = edgecell(chain.folder, "export", *words)
    assert done.status == 0, done.messages
    (written,) = json.loads(done.output)["artifacts"]
    tried = {one["recipe"]: one for one in written["candidates"]}
    assert set(tried) == set(CONVERTERS["onnx"].recipes)
    (chosen,) = [one for one in tried.values() if one["chosen"]]
    assert chosen["recipe"] == written["manifest"]["recipe"]
    fast = [one["latency_ms"] for one in tried.values() if one["latency_ms"] is not None]
    assert chosen["latency_ms"] <= 1.5 * min(fast)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".onnx"] == [
        f"malaria-cnn-{chosen['recipe']}.onnx"
    ]


def test_five_lines_of_embedding_classify_a_cell(chain: Chain, tmp_path: Path) -> None:
    shutil.unpack_archive(chain.folder / "runs/latest/drawn-cells.zip", tmp_path)
    cell = sorted(tmp_path.glob("cell_images/Parasitized/*.png"))[0]
    with Classifier.open(chain.exports / "malaria-cnn-float32.tflite") as classifier:
        prediction = classifier.predict(cell)
    assert prediction.label in ("Parasitized", "Uninfected")
    assert 0.5 <= prediction.probability <= 1


def test_export_notices_images_that_moved_and_finds_them_with_data(
    chain: Chain, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(chain.folder / "runs", runs, symlinks=True)
    archive = runs / "latest" / "drawn-cells.zip"
    elsewhere = tmp_path / "elsewhere.zip"
    archive.rename(elsewhere)
    lost = edgecell(tmp_path, "export", "--format", "onnx")
    assert lost.status == 1
    assert "--data" in lost.messages
    assert not (runs / "latest/exports/malaria-cnn-float32.onnx").exists()
    found = edgecell(tmp_path, "export", "--format", "onnx", "--data", str(elsewhere))
    assert found.status == 0, found.messages


def test_commands_without_a_run_say_what_to_do(tmp_path: Path) -> None:
    for words in (["export", "--format", "tflite"], ["bench"]):
        done = edgecell(tmp_path, *words)
        assert done.status == 1
        assert "edgecell train" in done.messages
        assert "Traceback" not in done.messages


@pytest.mark.slow
def test_demo_ends_in_the_table_and_the_path_of_a_report(tmp_path: Path) -> None:
    done = edgecell(tmp_path, "demo")
    assert done.status == 0, done.messages
    last = done.output.strip().splitlines()[-1]
    report = Path(last.removeprefix("Report: "))
    assert report.is_file()
    assert "drawn" in report.read_text(encoding="utf-8")
    for name in (
        "malaria-cnn-float32.savedmodel",
        "malaria-cnn-float32.tflite",
        "malaria-cnn-float32.onnx",
        "malaria-cnn-static_int8.tflite",
        "malaria-cnn-static_int8.onnx",
    ):
        assert name in done.output
