"""Manifests inside TFLite, ONNX and SavedModel: what others read of them, and what is refused."""

import hashlib
import typing
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import artifacts, models

from edgecell_runtime.containers import SUFFIXES, container_of, identify
from edgecell_runtime.containers import onnx as onnx_container
from edgecell_runtime.containers.base import DIGEST_LENGTH
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import ArtifactError, FormatError, IntegrityError, ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Format, Manifest

FORMATS: list[Format] = ["tflite", "onnx"]
BOTH = pytest.mark.parametrize("artifact_format", FORMATS)
SEALED = {name: artifacts.tiny_artifact(name) for name in FORMATS}


def read(data: bytes) -> Manifest:
    """Reads bytes as ``read_artifact`` does."""
    found = identify(data)
    if found is None:
        raise ArtifactError("of no known format")
    return container_of(found).read(data)


def reseal(body: bytes) -> bytes:
    """A valid digest for whatever someone wrote before it."""
    return body + hashlib.sha256(body).hexdigest().encode()


@BOTH
def test_manifest_comes_back_from_a_sealed_file(artifact_format: Format) -> None:
    assert read(SEALED[artifact_format]) == artifacts.tiny_manifest(artifact_format)


@BOTH
def test_seal_leaves_the_models_bytes_as_they_are(artifact_format: Format) -> None:
    model = artifacts.tiny_model(artifact_format)
    assert SEALED[artifact_format].startswith(model)


@BOTH
def test_seal_gives_the_same_bytes_when_repeated(artifact_format: Format) -> None:
    assert artifacts.tiny_artifact(artifact_format) == SEALED[artifact_format]


@BOTH
def test_sealed_file_ends_in_the_digest_of_the_rest(artifact_format: Format) -> None:
    body, digest = SEALED[artifact_format][:-DIGEST_LENGTH], SEALED[artifact_format][-64:]
    assert hashlib.sha256(body).hexdigest().encode() == digest


@BOTH
def test_engine_gives_the_models_answers_from_the_sealed_bytes(artifact_format: Format) -> None:
    pixels = models.random_pixels(2)
    with engine_for(artifact_format).open(SEALED[artifact_format], 1) as session:
        (logits,) = session.run((pixels,))
    assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)


def test_zipfile_reads_labels_and_manifest_of_a_tflite_artifact(tmp_path: Path) -> None:
    path = artifacts.write_artifact(tmp_path, "tflite")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "Parasitized\nUninfected\n"
        assert Manifest.from_json(archive.read("edgecell_manifest.json")).format == "tflite"


def test_onnx_reads_both_metadata_entries_of_an_onnx_artifact() -> None:
    model = onnx.load_model_from_string(SEALED["onnx"])
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert set(metadata) == {"edgecell.manifest", "edgecell.sha256"}
    assert Manifest.from_json(metadata["edgecell.manifest"].encode()).format == "onnx"
    assert metadata["edgecell.sha256"] == SEALED["onnx"][-64:].decode()


def test_onnx_artifact_keeps_metadata_that_was_there_before() -> None:
    model = onnx.load_model_from_string(models.onnx_model())
    onnx.helper.set_model_props(model, {"author": "someone"})
    manifest = artifacts.tiny_manifest("onnx")
    sealed = container_of("onnx").seal(model.SerializeToString(), manifest)
    assert read(sealed) == manifest
    keys = {entry.key for entry in onnx.load_model_from_string(sealed).metadata_props}
    assert keys == {"author", "edgecell.manifest", "edgecell.sha256"}


@BOTH
def test_every_changed_byte_is_refused(artifact_format: Format) -> None:
    sealed = SEALED[artifact_format]
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1 << position % 8
        with pytest.raises(ArtifactError):
            read(bytes(changed))


@BOTH
def test_file_is_refused_when_cut_short_anywhere(artifact_format: Format) -> None:
    sealed = SEALED[artifact_format]
    for length in range(len(sealed)):
        with pytest.raises(ArtifactError):
            read(sealed[:length])


@BOTH
@pytest.mark.parametrize("extra", [b"\0", b"0", b"\n"])
def test_file_is_refused_when_a_byte_is_appended(artifact_format: Format, extra: bytes) -> None:
    with pytest.raises(ManifestError, match="its end was cut off or written over"):
        read(SEALED[artifact_format] + extra)


@BOTH
def test_refusal_says_damaged_when_the_model_was_changed(artifact_format: Format) -> None:
    changed = bytearray(SEALED[artifact_format])
    changed[200] ^= 1
    with pytest.raises(IntegrityError, match="The file is damaged: its bytes hash to"):
        container_of(artifact_format).read(bytes(changed))


@BOTH
def test_file_is_refused_when_it_carries_no_manifest(artifact_format: Format) -> None:
    model = artifacts.tiny_model(artifact_format)
    assert identify(model) == artifact_format
    with pytest.raises(ManifestError, match="The file carries no edgecell manifest"):
        read(model)


def test_tflite_is_refused_when_its_marker_stands_alone() -> None:
    with pytest.raises(ManifestError, match="does not end where the file ends"):
        read(reseal(models.tflite_model() + b"edgecell sha256 "))


def metadata(key: bytes, value: bytes) -> bytes:
    return onnx_container._entry(key, value)


KEY, VALUE = onnx_container.MANIFEST_KEY, artifacts.tiny_manifest("onnx").to_json()
DIGEST = container_of("onnx").seal_marker


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (b"", "holds 0 edgecell manifests; expected 1"),
        (metadata(KEY, VALUE) * 2, "holds 2 edgecell manifests; expected 1"),
        (metadata(KEY, VALUE.ljust(MAX_MANIFEST_BYTES + 100)), "has metadata above"),
        (metadata(KEY, b"{}"), "lacks the key"),
        (b"\x72\x02\xff\xff", "not a protocol buffer"),
    ],
    ids=["none", "two", "too large", "not a manifest", "malformed entry"],
)
def test_onnx_is_refused_when_its_metadata_is_not_ours(entries: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(reseal(models.onnx_model() + entries + DIGEST))


@BOTH
@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=6))
def test_resealed_files_give_a_manifest_or_an_artifact_error(
    artifact_format: Format, changes: list[tuple[int, int]]
) -> None:
    """Someone who can compute a digest can write anything before it."""
    container = container_of(artifact_format)
    body = bytearray(SEALED[artifact_format][:-DIGEST_LENGTH])
    start, end = len(artifacts.tiny_model(artifact_format)), len(body) - len(container.seal_marker)
    for position, value in changes:
        body[start + position % (end - start)] = value
    try:
        manifest = container.read(reseal(bytes(body)))
    except ArtifactError:
        return
    assert isinstance(manifest, Manifest)


@given(st.binary(max_size=200))
def test_any_bytes_are_of_no_format_or_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        read(reseal(data))


def test_every_format_has_a_suffix() -> None:
    assert set(SUFFIXES.values()) == set(typing.get_args(Format))


def test_container_is_refused_when_the_format_is_a_folder() -> None:
    with pytest.raises(FormatError, match="savedmodel is not one file"):
        container_of("savedmodel")
