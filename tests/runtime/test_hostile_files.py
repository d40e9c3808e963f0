"""Files that change, wait or never end while they are opened."""

import hashlib
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from support import artifacts, models
from support.hostile import refusal

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import container_of, reading
from edgecell_runtime.containers.base import check_seal
from edgecell_runtime.containers.protobuf import bytes_field
from edgecell_runtime.errors import ArtifactError, FormatError, IntegrityError
from edgecell_runtime.manifest import Format

BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "tflite")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/null", "/dev/tty"])
def test_device_is_refused_unread(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"there is no {device}")
    with pytest.raises(ArtifactError, match=r"a pipe, a device or a folder|cannot be read"):
        read_artifact(Path(device))


def test_pipe_is_refused_when_nobody_writes_to_it_and_when_somebody_does(tmp_path: Path) -> None:
    """Opening one waits for a writer, if it is not told otherwise."""
    os.mkfifo(tmp_path / "x.tflite")
    errors: list[ArtifactError] = []

    def read() -> None:
        with pytest.raises(FormatError, match="a pipe, a device or a folder") as caught:
            read_artifact(tmp_path / "x.tflite")
        errors.append(caught.value)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert len(errors) == 1
    descriptor = os.open(tmp_path / "x.tflite", os.O_RDWR)
    try:
        read()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("change", [b"", b"more"], ids=["shrinks", "grows"])
def test_file_is_refused_when_its_size_changes_while_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    real = os.fstat

    def then_change(descriptor: int) -> os.stat_result:
        monkeypatch.undo()
        status = real(descriptor)
        if change:
            with path.open("ab") as file:
                file.write(change)
        else:
            os.truncate(path, status.st_size - 1)
        return status

    monkeypatch.setattr(reading.os, "fstat", then_change)
    with pytest.raises(IntegrityError, match="Its size changed while it was read"):
        read_artifact(path)


def test_no_more_is_read_than_the_size_at_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = os.read

    def count(descriptor: int, length: int) -> bytes:
        asked.append(length)
        return real(descriptor, length)

    monkeypatch.setattr(reading.os, "read", count)
    read_artifact(path)
    assert asked == [path.stat().st_size, 1]


def test_file_is_put_together_when_reads_give_pieces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read
    monkeypatch.setattr(reading.os, "read", lambda fd, length: real(fd, min(length, 100)))
    assert read_artifact(path).data == path.read_bytes()


def test_file_is_opened_once_and_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.open

    def remember(*arguments: object) -> int:
        opened.append(real(*arguments))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(reading.os, "open", remember)
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    read_artifact(path)
    assert len(opened) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


@BOTH
def test_engine_gets_the_bytes_that_were_hashed_when_the_file_is_replaced_meanwhile(
    tmp_path: Path, artifact_format: Format
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    artifact = read_artifact(path)
    path.write_bytes(b"hostile")
    assert hashlib.sha256(artifact.data[:-64]).hexdigest() == artifact.digest
    with Classifier.of_artifact(artifact) as classifier:
        assert classifier.predict(models.random_pixels(1)[0]).label in artifacts.LABELS


@BOTH
def test_engine_does_not_see_a_hostile_file(
    tmp_path: Path, artifact_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(Classifier, "of_artifact", lambda *found, **_: seen.append(found))
    data = bytearray(artifacts.tiny_artifact(artifact_format))
    data[300] ^= 1
    (tmp_path / f"x.{artifact_format}").write_bytes(data)
    with pytest.raises(IntegrityError):
        Classifier.open(tmp_path / f"x.{artifact_format}")
    assert not seen


@BOTH
def test_manifest_of_another_model_breaks_the_seal(tmp_path: Path, artifact_format: Format) -> None:
    """The end of one artifact behind the model of another, as an editor of bytes would do it."""
    model = artifacts.tiny_model(artifact_format, batch=1)
    tail = artifacts.tiny_artifact(artifact_format)[len(artifacts.tiny_model(artifact_format)) :]
    said = refusal(tmp_path, model + tail, artifact_format)
    assert "is damaged" in said


def test_seal_is_checked_without_a_copy_of_the_file() -> None:
    """Counted in bytes that Python holds, not in time."""
    container = container_of("tflite")
    data = container.seal(models.tflite_model() + bytes(8_000_000), artifacts.tiny_manifest())
    tracemalloc.start()
    try:
        check_seal(data, container.seal_marker)
        container.read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@BOTH
def test_opening_holds_the_file_once(tmp_path: Path, artifact_format: Format) -> None:
    model = artifacts.tiny_model(artifact_format)
    padding = bytes(8_000_000)
    if artifact_format == "onnx":
        padding = bytes_field(6, padding)
    path = tmp_path / "large"
    manifest = artifacts.tiny_manifest(artifact_format)
    path.write_bytes(container_of(artifact_format).seal(model + padding, manifest))
    tracemalloc.start()
    try:
        artifact = read_artifact(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(artifact.data) <= peak < 1.2 * len(artifact.data)
