"""Manifests in properly sealed files that are hostile, or another model's."""

import dataclasses
import json
from pathlib import Path

import pytest
from support import artifacts, models
from support.hostile import MANIFEST, Member, archive, refusal, reseal

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import container_of
from edgecell_runtime.containers import onnx as container
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.manifest import Format, Manifest

TEXT = artifacts.tiny_manifest().to_json().decode()


def sealed(text: bytes, artifact_format: Format) -> bytes:
    if artifact_format == "tflite":
        return archive([Member(MANIFEST, text)])
    entry = container._entry(container.MANIFEST_KEY, text)
    return reseal(models.onnx_model() + entry + container_of("onnx").seal_marker)


def with_value(key: str, value: str) -> bytes:
    """The manifest with a key's value written over, as text, so that it may be no JSON."""
    document = json.loads(TEXT)
    document[key] = "HERE"
    return json.dumps(document).replace('"HERE"', value).encode()


HOSTILE = {
    "depth": b"[" * 500_000,
    "depth of objects": b'{"a":' * 100_000,
    "depth in a value": with_value("labels", "[" * 50_000 + "]" * 50_000),
    "digits": with_value("threshold", "1" * 100_000),
    "exponent": with_value("threshold", "1e999999999"),
    "huge whole number": with_value("temperature", "1" * 4000),
    "huge version": with_value("schema_version", "1" * 4000),
    "nan": with_value("threshold", "NaN"),
    "infinity": with_value("temperature", "Infinity"),
    "minus infinity": with_value("temperature", "-Infinity"),
    "true for a number": with_value("threshold", "true"),
    "text for a number": with_value("threshold", '"0.5"'),
    "two thresholds": with_value("threshold", '0.5, "threshold": 0.9'),
    "two keys inside": with_value("source", '{"weights_sha256": "0", "weights_sha256": "1"}'),
    "lone surrogate": with_value("labels", r'["\ud800", "Uninfected"]'),
    "surrogate in utf-8": with_value("labels", '["x", "y"]').replace(b'"x"', b'"\xed\xa0\x80"'),
    "not utf-8": with_value("labels", '["x", "y"]').replace(b'"x"', b'"\xff"'),
    "utf-16": TEXT.encode("utf-16"),
    "utf-32": TEXT.encode("utf-32-le"),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "something behind": TEXT.encode() + b"{}",
    "a list": b"[]",
    "nothing": b"",
    "NUL": b"\0",
    "unknown key": with_value("threshold", '0.5, "__class__": "os.system"'),
    "one label": with_value("labels", '["Parasitized"]'),
    "label twice": with_value("labels", '["Parasitized", "Parasitized"]'),
    "label of two lines": with_value("labels", r'["Parasitized", "a\nb"]'),
    "positive label of another model": with_value("positive_label", '"Tumour"'),
}
BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@BOTH
def test_manifest_is_read_when_it_was_only_written_anew(
    tmp_path: Path, artifact_format: Format
) -> None:
    """What the cases below vary."""
    text = with_value("format", f'"{artifact_format}"')
    (tmp_path / "fair").write_bytes(sealed(text, artifact_format))
    assert read_artifact(tmp_path / "fair").manifest == artifacts.tiny_manifest(artifact_format)


@BOTH
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_manifest_is_refused_in_one_sentence(
    tmp_path: Path, artifact_format: Format, text: bytes
) -> None:
    said = refusal(tmp_path, sealed(text, artifact_format), artifact_format)
    assert len(said) < 700
    assert said.replace(str(tmp_path), "").isprintable()


def test_sentence_stays_short_when_a_key_is_long_or_moves_the_cursor(tmp_path: Path) -> None:
    for key in ("x" * 100_000, "\x1b[2J\x1b[31m", "\u202e"):
        for text in (
            with_value("threshold", f"0.5, {json.dumps(key)}: 1"),
            with_value(
                "source", f'{{"weights_sha256": "0", "versions": {{{json.dumps(key)}: 1}}}}'
            ),
        ):
            said = refusal(tmp_path, sealed(text, "tflite"), "tflite")
            assert len(said.replace(str(tmp_path), "")) < 300
            assert "\x1b" not in said
            assert "\u202e" not in said


@BOTH
def test_manifest_of_another_format_is_refused(tmp_path: Path, artifact_format: Format) -> None:
    other: Format = "onnx" if artifact_format == "tflite" else "tflite"
    text = artifacts.tiny_manifest(other).to_json()
    said = refusal(tmp_path, sealed(text, artifact_format), artifact_format)
    assert f"Its manifest is of the format {other}" in said


@BOTH
def test_manifest_of_a_model_with_another_signature_is_refused(
    tmp_path: Path, artifact_format: Format
) -> None:
    manifest = artifacts.tiny_manifest(artifact_format)
    for signature in (
        artifacts.signature(outputs=3),
        artifacts.signature(size=(9, 9, 3)),
        artifacts.int8_signature(),
    ):
        size = signature.inputs[0].shape
        preprocessing = dataclasses.replace(manifest.preprocessing, height=size[1], width=size[2])
        other = dataclasses.replace(manifest, signature=signature, preprocessing=preprocessing)
        path = tmp_path / f"other.{artifact_format}"
        path.write_bytes(sealed(other.to_json(), artifact_format))
        with pytest.raises(EdgecellError):
            Classifier.open(path)


def test_manifest_is_never_evaluated() -> None:
    manifest = Manifest.from_json(with_value("threshold_rule", "\"__import__('os').abort()\""))
    assert manifest.threshold_rule == "__import__('os').abort()"
