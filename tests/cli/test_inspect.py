import sys
from pathlib import Path

import pytest
from support import artifacts, models
from support.command_line import Outcome, invoke, write_file

from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of, savedmodel
from edgecell_runtime.manifest import Format

BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """An int8 artifact whose manifest has every key."""
    sealed = container_of("tflite").seal(models.int8_tflite_model(), artifacts.full_manifest())
    return write_file(tmp_path / "full.tflite", sealed)


def words(outcome: Outcome) -> str:
    return " ".join(outcome.out.split())


@BOTH
def test_document_is_the_whole_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], artifact_format: Format
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    outcome = invoke(capsys, "inspect", path, "--json")
    operators = outcome.document["operators"]
    assert outcome.status == 0
    assert list(outcome.document) == [
        "path",
        "format",
        "size_bytes",
        "digest",
        "parameters",
        "operators",
        "manifest",
    ]
    assert outcome.document["path"] == str(path)
    assert outcome.document["format"] == artifact_format
    assert outcome.document["size_bytes"] == path.stat().st_size
    assert outcome.document["digest"] == read_artifact(path).digest
    assert outcome.document["parameters"] == models.WEIGHTS.size + models.BIAS.size
    assert outcome.document["manifest"] == codec.encode(artifacts.tiny_manifest(artifact_format))
    assert operators[0] == {
        "name": {"onnx": "Cast", "tflite": "CAST"}[artifact_format],
        "dtypes": "uint8 -> float32",
        "count": 1,
    }
    assert outcome.err == ""


@pytest.mark.parametrize(
    "text",
    [
        "labels Parasitized, Uninfected",
        "Parasitized, at a probability of 0.31 or more (threshold: sensitivity at least 0.97",
        "static_int8: weights and activations as 8-bit integers",
        "input pixels int8 1 x 8 x 8 x 3 NHWC (q + 128) * 0.00392157",
        "output logits int8 1 x 2 NC (q - 3) * 0.25",
        f"Graph (parameters: {models.INT8_WEIGHTS.size + 2}, operators: 1)",
        "FULLY_CONNECTED int8, int8, int32 -> int8 1",
        "8 x 8 pixels (height x width)",
        "softmax: one output a label",
        "temperature 1.7",
        "largest difference of a probability 0.03 (at most 0.1 allowed)",
        "labels changed 0.20% (at most 1.00% allowed)",
        "one step of the output moves the probability by up to 0.012 near the threshold",
        "LOOSENED by hand",
        "sensitivity (95 % interval) 0.952 (0.941 to 0.962)",
        "images 5,393",
        "patients 40",
        "DRAWN CELLS",
        "rate 0.001",
        "seed 5",
        "weights (SHA-256) 2222",
        "256 training images, seed 11",
        "version of keras 3.15.1",
        "target cortex-m55",
    ],
)
def test_tables_say_everything(full: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    outcome = invoke(capsys, "inspect", full)
    assert outcome.status == 0
    assert text in words(outcome)
    assert read_artifact(full).digest in outcome.out


def test_what_was_not_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = words(invoke(capsys, "inspect", artifacts.write_artifact(tmp_path, "onnx")))
    assert "nothing says that it answers as its source does" in shown
    assert "nothing says how often it is right" in shown


@pytest.mark.parametrize("suffix", ["json", "csv", "md", "html"])
def test_output_writes_the_digest_in_every_form(
    tmp_path: Path, full: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    file = tmp_path / f"out.{suffix}"
    assert invoke(capsys, "inspect", full, "--output", file).status == 0
    assert read_artifact(full).digest in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("artifact_format", "module", "extra"),
    [("onnx", "onnx", "export"), ("tflite", "ai_edge_litert", "tflite")],
)
def test_missing_part_gives_a_note_and_the_rest_is_shown(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    artifact_format: Format,
    module: str,
    extra: str,
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    monkeypatch.setitem(sys.modules, module, None)
    outcome = invoke(capsys, "inspect", path, "--json")
    assert outcome.status == 0
    assert (outcome.document["parameters"], outcome.document["operators"]) == (None, None)
    assert outcome.document["manifest"]["labels"] == list(artifacts.LABELS)
    assert f"pip install 'edgecell[{extra}]'" in outcome.err


def test_graph_that_cannot_be_read_gives_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.onnx_model().replace(b"Gemm", b"Gemn")
    sealed = container_of("onnx").seal(model, artifacts.tiny_manifest("onnx"))
    outcome = invoke(capsys, "inspect", write_file(tmp_path / "x.onnx", sealed))
    assert outcome.status == 0
    assert "Operators and parameters are not shown." in outcome.err
    assert "Signature" in outcome.out


def test_savedmodel_shows_its_manifest_when_tensorflow_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny.savedmodel"
    write_file(folder / "saved_model.pb", b"graph")
    savedmodel.seal(folder, artifacts.tiny_manifest("savedmodel"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    outcome = invoke(capsys, "inspect", folder, "--json")
    assert outcome.document["digest"] == read_artifact(folder).digest
    assert "This needs TensorFlow" in outcome.err


def test_changed_artifact_is_refused(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = full.read_bytes()
    full.write_bytes(data.replace(b"cortex-m55", b"cortex-m85"))
    outcome = invoke(capsys, "inspect", full)
    assert (outcome.status, outcome.out) == (1, "")
    assert "is damaged" in outcome.err


def test_wrong_usage_ends_with_status_2(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(capsys, "inspect").status == 2
    assert invoke(capsys, "inspect", full, "--output", "x.txt").status == 2
