"""The manifest and the list of digests inside a SavedModel folder."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import artifacts

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.errors import ArtifactError, FormatError, IntegrityError, ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES

LIST = savedmodel.DIGESTS_NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder; the container does not look into the graph."""
    path = tmp_path / "model.savedmodel"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"index")
    savedmodel.seal(path, artifacts.tiny_manifest("savedmodel"))
    return path


def test_manifest_comes_back_from_a_sealed_folder(folder: Path) -> None:
    artifact = read_artifact(folder)
    assert artifact.manifest == artifacts.tiny_manifest("savedmodel")
    assert artifact.digest == hashlib.sha256((folder / LIST).read_bytes()).hexdigest()
    assert artifact.size_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert (artifact.data, artifact.format) == (b"", "savedmodel")


def test_seal_gives_the_same_list_when_repeated(folder: Path) -> None:
    before = (folder / LIST).read_bytes()
    savedmodel.seal(folder, artifacts.tiny_manifest("savedmodel"))
    assert (folder / LIST).read_bytes() == before


def test_list_has_the_form_of_sha256sum(folder: Path) -> None:
    lines = (folder / LIST).read_text().splitlines()
    found = {}
    for line in lines:
        match = re.fullmatch(r"([0-9a-f]{64})  ([^/ ].*)", line)
        assert match is not None
        found[match[2]] = match[1]
    assert list(found) == sorted(found)
    assert found == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (
            "assets/edgecell_manifest.json",
            "assets/labels.txt",
            "saved_model.pb",
            "variables/variables.index",
        )
    }


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_sha256sum_accepts_the_list(folder: Path) -> None:
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", LIST], cwd=folder, check=True)


def test_labels_are_readable_lines(folder: Path) -> None:
    assert (folder / "assets/labels.txt").read_text() == "Parasitized\nUninfected\n"


def _append(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return change


@pytest.mark.parametrize(
    "change",
    [
        _append("saved_model.pb"),
        _append("variables/variables.index"),
        _append("assets/edgecell_manifest.json"),
        _append("assets/labels.txt"),
        _append(LIST),
        lambda folder: (folder / "extra").touch(),
        lambda folder: (folder / "assets" / "extra").touch(),
        lambda folder: (folder / "variables" / "variables.index").unlink(),
        lambda folder: (folder / "saved_model.pb").rename(folder / "assets" / "saved_model.pb"),
        lambda folder: (folder / "link").symlink_to(folder / "saved_model.pb"),
        lambda folder: (folder / "link").symlink_to(folder / "variables"),
        lambda folder: (folder / "link").symlink_to("nowhere"),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: [(folder / f"{number}").touch() for number in range(savedmodel.MAX_FILES)],
    ],
)
def test_folder_is_refused_when_a_file_was_changed(
    folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    with pytest.raises((IntegrityError, FormatError)):
        read_artifact(folder)


def test_folder_is_refused_when_a_file_became_a_link_to_the_same_bytes(folder: Path) -> None:
    graph = folder / "saved_model.pb"
    graph.rename(folder.parent / "elsewhere")
    graph.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(IntegrityError, match="symbolic link"):
        read_artifact(folder)


@pytest.mark.parametrize("name", [LIST, savedmodel.MANIFEST_NAME])
def test_folder_is_refused_when_it_carries_no_manifest(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ManifestError, match="carries no edgecell manifest"):
        read_artifact(folder)


def test_folder_is_refused_when_its_manifest_is_too_large(folder: Path) -> None:
    manifest = artifacts.tiny_manifest("savedmodel")
    large = dataclasses.replace(manifest, target="x" * MAX_MANIFEST_BYTES)
    savedmodel.seal(folder, large)
    with pytest.raises(FormatError, match="at most 1,048,576 are read"):
        read_artifact(folder)


def test_folder_is_refused_when_its_manifest_is_of_another_format(folder: Path) -> None:
    savedmodel.seal(folder, artifacts.tiny_manifest("onnx"))
    with pytest.raises(ManifestError, match="Its manifest is of the format onnx"):
        read_artifact(folder)


def test_folder_is_refused_when_it_holds_no_graph(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"without a saved_model\.pb"):
        read_artifact(tmp_path)


def test_folder_is_refused_when_its_name_says_another_format(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="It is savedmodel, and its name says onnx"):
        read_artifact(folder.rename(folder.with_suffix(".onnx")))
