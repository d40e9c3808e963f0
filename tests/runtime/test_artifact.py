import dataclasses
import os
from pathlib import Path

import pytest
from support import artifacts

from edgecell_runtime import artifact as artifact_module
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of
from edgecell_runtime.errors import ArtifactError, FormatError, IntegrityError, ManifestError
from edgecell_runtime.manifest import Format

BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@BOTH
def test_artifact_is_read_with_its_manifest_and_bytes(
    tmp_path: Path, artifact_format: Format
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    artifact = read_artifact(path)
    assert artifact.path == path
    assert artifact.manifest == artifacts.tiny_manifest(artifact_format)
    assert artifact.format == artifact_format
    assert artifact.data == path.read_bytes()
    assert artifact.size_bytes == path.stat().st_size
    assert artifact.digest.encode() == path.read_bytes()[-64:]


@pytest.mark.parametrize("name", ["model", "model.bin", "model.TFLITE", "a.b.tflite"])
def test_artifact_is_read_when_its_name_promises_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(artifacts.tiny_artifact("tflite"))
    assert read_artifact(path).format == "tflite"


@pytest.mark.parametrize(
    ("artifact_format", "suffix"),
    [("tflite", "onnx"), ("onnx", "tflite"), ("onnx", "ONNX.tflite"), ("tflite", "savedmodel")],
)
def test_artifact_is_refused_when_its_name_says_another_format(
    tmp_path: Path, artifact_format: Format, suffix: str
) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(artifacts.tiny_artifact(artifact_format))
    with pytest.raises(FormatError, match=f"It is {artifact_format}, and its name says"):
        read_artifact(path)


@BOTH
def test_artifact_is_refused_when_its_manifest_is_of_another_format(
    tmp_path: Path, artifact_format: Format
) -> None:
    other: Format = "onnx" if artifact_format == "tflite" else "tflite"
    model, manifest = artifacts.tiny_model(artifact_format), artifacts.tiny_manifest(other)
    path = tmp_path / "model"
    path.write_bytes(container_of(artifact_format).seal(model, manifest))
    with pytest.raises(ManifestError, match=f"Its manifest is of the format {other}, the file is"):
        read_artifact(path)


@BOTH
def test_artifact_is_refused_when_the_model_is_a_stock_one(
    tmp_path: Path, artifact_format: Format
) -> None:
    path = tmp_path / f"stock.{artifact_format}"
    path.write_bytes(artifacts.tiny_model(artifact_format))
    with pytest.raises(ManifestError, match=r"is refused\. The file carries no edgecell manifest"):
        read_artifact(path)


@BOTH
def test_refusal_names_the_file_when_it_is_damaged(tmp_path: Path, artifact_format: Format) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"tiny\.{artifact_format} is refused\. The file is"):
        read_artifact(path)


@pytest.mark.parametrize("data", [b"x", b"<html>", b"\x89PNG\r\n\x1a\n", b"PK\3\4" + bytes(40)])
def test_artifact_is_refused_when_it_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="neither TFLite nor ONNX, or it is cut short"):
        read_artifact(path)


def test_artifact_is_refused_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"There is no artifact .*x\.tflite; check the path"):
        read_artifact(tmp_path / "x.tflite")


def test_artifact_is_refused_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").touch()
    with pytest.raises(FormatError, match=r"It is empty \(0 bytes\)"):
        read_artifact(tmp_path / "x.tflite")


def test_artifact_is_refused_when_it_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tflite")
    with pytest.raises(FormatError, match="a pipe, a device or a folder"):
        read_artifact(tmp_path / "x.tflite")


@pytest.mark.parametrize("name", ["x\0.tflite", "x" * 5000])
def test_artifact_is_refused_when_no_file_can_have_its_name(name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_artifact(Path(name))


def test_artifact_is_refused_unread_when_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifacts.write_artifact(tmp_path, "onnx")
    monkeypatch.setattr(artifact_module, "MAX_ARTIFACT_BYTES", path.stat().st_size - 1)
    with pytest.raises(FormatError, match=r"at most [\d,]+ are read"):
        read_artifact(path)


def test_artifact_is_refused_when_its_manifest_is_of_version_2(tmp_path: Path) -> None:
    manifest = artifacts.tiny_manifest("onnx")
    newer = dataclasses.replace(manifest, schema_version=2)  # type: ignore[arg-type]
    path = tmp_path / "newer.onnx"
    path.write_bytes(container_of("onnx").seal(artifacts.tiny_model("onnx"), newer))
    with pytest.raises(ManifestError, match="schema_version is 2, expected one of 1"):
        read_artifact(path)
