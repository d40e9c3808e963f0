"""SavedModel folders that are sealed and hostile, before TensorFlow is asked."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import artifacts

from edgecell_runtime import artifact as artifact_module
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import reading, savedmodel
from edgecell_runtime.errors import ArtifactError, FormatError, IntegrityError

LIST = savedmodel.DIGESTS_NAME
SHARD = "variables/variables.data-00000-of-00001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model.savedmodel"
    (path / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.index", SHARD):
        (path / name).write_bytes(name.encode())
    savedmodel.seal(path, artifacts.tiny_manifest("savedmodel"))
    return path


def add(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")

    return change


def linked(name: str, target: str) -> Callable[[Path], object]:
    """Moves a file or folder away and puts a link to it in its place."""

    def change(folder: Path) -> None:
        aside = folder.parent / target
        (folder / name).rename(aside)
        (folder / name).symlink_to(aside)

    return change


def test_fair_folder_is_read(folder: Path) -> None:
    """What the cases below vary."""
    assert read_artifact(folder).format == "savedmodel"


@pytest.mark.parametrize(
    "change",
    [
        add("extra"),
        add("assets/extra"),
        add("assets.extra/vocabulary.txt"),
        add("assets/deep/labels.txt"),
        add("variables/variables.data-0-of-1"),
        add("variables/x.so"),
        add("saved_model.pbtxt"),
        add("saved_model.cpb"),
        add("keras_metadata.pb"),
        add("caf\xe9"),
    ],
)
def test_folder_is_refused_when_it_holds_an_unknown_file_that_is_sealed_too(
    folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    savedmodel.seal(folder, artifacts.tiny_manifest("savedmodel"))
    with pytest.raises(IntegrityError, match="a SavedModel that `edgecell export` writes has no"):
        read_artifact(folder)


@pytest.mark.parametrize(
    "change",
    [
        linked("saved_model.pb", "graph"),
        linked("variables", "weights"),
        linked("assets", "assets"),
        linked(SHARD, "shard"),
        linked(savedmodel.MANIFEST_NAME, "manifest"),
        linked(LIST, "list"),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: os.mkfifo(folder / "variables" / "variables.data-00001-of-00002"),
    ],
)
def test_folder_is_refused_when_it_holds_a_link_or_a_pipe(
    folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    with pytest.raises(IntegrityError, match="a symbolic link or no plain file"):
        read_artifact(folder)


def test_file_that_became_a_link_after_it_was_listed_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = savedmodel._names_and_size(folder)
    linked(SHARD, "shard")(folder)
    monkeypatch.setattr(savedmodel, "_names_and_size", lambda _: found)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_artifact(folder)


def test_folder_is_refused_unread_when_it_holds_too_many_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(savedmodel.MAX_FILES):
        add(f"variables/variables.data-{number:05}-of-00064")(folder)
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(IntegrityError, match="holds more than 64 files"):
        read_artifact(folder)


def test_folder_is_refused_unread_when_its_files_are_too_large_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = read_artifact(folder).size_bytes
    monkeypatch.setattr(artifact_module, "MAX_ARTIFACT_BYTES", size - 1)
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(FormatError, match=r"Its files have [\d,]+ bytes; at most"):
        read_artifact(folder)


@pytest.mark.parametrize("name", ["saved_model.pb", "fingerprint.pb", "assets/labels.txt", LIST])
def test_folder_is_refused_when_a_file_claims_a_gigabyte(folder: Path, name: str) -> None:
    """A sparse file, which takes no space."""
    os.truncate(folder / name, 1 << 30)
    with pytest.raises(FormatError, match=rf"{name} in it is refused\. It has 1,073,741,824 bytes"):
        read_artifact(folder)


def test_copy_holds_the_bytes_that_were_hashed_and_belongs_to_the_user_alone(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    read_artifact(folder, copy=copy)
    lines = (folder / LIST).read_text().splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((copy / name).read_bytes()).hexdigest() == digest
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert found == {line.partition("  ")[2] for line in lines} | {LIST}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700


def test_copy_is_what_was_hashed_when_the_folder_changes_meanwhile(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, expected = reading.chunks, (folder / SHARD).read_bytes()

    def then_replace(descriptor: int, size: int) -> Iterator[bytes]:
        yield from real(descriptor, size)
        (folder / "new").write_bytes(b"hostile")
        (folder / "new").replace(folder / SHARD)

    monkeypatch.setattr(savedmodel, "chunks", then_replace)
    with pytest.raises(IntegrityError):
        read_artifact(folder, copy=tmp_path / "first")  # replaced before it was read
    (folder / SHARD).write_bytes(expected)
    monkeypatch.setattr(savedmodel, "chunks", real)
    read_artifact(folder, copy=tmp_path / "second")
    (folder / SHARD).write_bytes(b"hostile")
    assert (tmp_path / "second" / SHARD).read_bytes() == expected


def test_folder_may_be_reached_through_a_link(folder: Path, tmp_path: Path) -> None:
    """The path is the user's own, such as runs/latest; what lies inside is not."""
    (tmp_path / "latest.savedmodel").symlink_to(folder)
    assert read_artifact(tmp_path / "latest.savedmodel").format == "savedmodel"
