"""Whatever bytes come: a manifest or an artifact is accepted, or an EdgecellError says why not."""

import hashlib
import json
import os
import shutil
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import artifacts, fuzzing, models
from support.hostile_strategies import (
    DOCUMENTS,
    FORMATS,
    FRAGMENTS,
    RAW,
    SEALED,
    changed_files,
    changed_manifests,
    places,
)

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import container_of, savedmodel
from edgecell_runtime.errors import ArtifactError, EdgecellError
from edgecell_runtime.manifest import Format, Manifest

BOTH = pytest.mark.parametrize("artifact_format", FORMATS)


def many(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples; the watchdog, and no deadline, tells what hangs."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, suppress_health_check=checks)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a test."""
    return tmp_path_factory.mktemp("fuzzing")


# Manifests


@many(200)
@given(st.binary(max_size=300) | DOCUMENTS.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_manifest_or_an_error(data: bytes) -> None:
    with fuzzing.watchdog():
        fuzzing.read_manifest(data)


@many(300)
@given(changed_manifests())
def test_changed_manifests_give_a_manifest_or_an_error(data: bytes) -> None:
    with fuzzing.watchdog():
        fuzzing.read_manifest(data)


def test_manifest_is_refused_or_read_whatever_stands_in_the_place_of_any_value() -> None:
    document = json.loads(artifacts.full_manifest().to_json())
    count = len(places(document))
    assert count > 60
    for number in range(count):
        for raw in ("null", "true", '"x"', "[]", "{}", "1e308", "-1", RAW["raw-deep-list"]):
            fresh = json.loads(json.dumps(document))
            holder, key = places(fresh)[number]
            holder[key] = "raw-here"  # type: ignore[call-overload, index]
            with fuzzing.watchdog():
                fuzzing.read_manifest(json.dumps(fresh).replace('"raw-here"', raw).encode())


@BOTH
@many(120)
@given(data=st.data())
def test_classifier_answers_or_refuses_when_a_sealed_manifest_is_hostile(
    artifact_format: Format, scratch: Path, data: st.DataObject
) -> None:
    """The graph is a good one: only what is said of it was changed, by someone who can seal."""
    text = data.draw(changed_manifests(artifact_format))
    written = artifacts.tiny_manifest(artifact_format).to_json()
    path = scratch / f"manifest.{artifact_format}"
    path.write_bytes(with_manifest(artifact_format, written, text))
    with fuzzing.watchdog():
        try:
            with Classifier.open(path, threads=1) as classifier:
                prediction = classifier.predict(models.random_pixels(1)[0])
        except EdgecellError:
            return
    assert prediction.label in classifier.manifest.labels
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def with_manifest(artifact_format: Format, written: bytes, text: bytes) -> bytes:
    """A sealed file with any text in the place of a manifest."""

    class Forged:
        head = artifacts.tiny_manifest().head
        labels = artifacts.LABELS

        def to_json(self) -> bytes:
            return text

    manifest = typing.cast(Manifest, Forged())
    return container_of(artifact_format).seal(artifacts.tiny_model(artifact_format), manifest)


# Files


@BOTH
@many(250)
@given(data=st.data())
def test_changed_files_are_refused_unless_no_byte_differs(
    artifact_format: Format, scratch: Path, data: st.DataObject
) -> None:
    changed = data.draw(changed_files(artifact_format))
    with fuzzing.watchdog():
        accepted = fuzzing.read_file(changed, scratch / f"model.{artifact_format}")
    assert accepted == (changed == SEALED[artifact_format])


@BOTH
@many(400)
@given(data=st.data())
def test_changed_files_give_an_artifact_or_an_error_when_their_seal_was_put_right(
    artifact_format: Format, scratch: Path, data: st.DataObject
) -> None:
    changed = fuzzing.forged(data.draw(changed_files(artifact_format)), artifact_format)
    with fuzzing.watchdog():
        fuzzing.read_file(changed, scratch / f"model.{artifact_format}")


@BOTH
def test_forged_seal_is_accepted_when_nothing_was_changed(
    artifact_format: Format, tmp_path: Path
) -> None:
    forged = fuzzing.forged(SEALED[artifact_format], artifact_format)  # or nothing is reached
    assert forged == SEALED[artifact_format]
    assert fuzzing.read_file(forged, tmp_path / f"model.{artifact_format}")


# Folders

NAMES = st.sampled_from(
    [
        "saved_model.pb",
        savedmodel.DIGESTS_NAME,
        savedmodel.MANIFEST_NAME,
        "assets/labels.txt",
        "variables/variables.index",
        "extra",
        "assets/deep/er",
        "assets.extra",
        "\udcff",
        "-",
        "a b",
    ]
)


def sealed_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"index")
    savedmodel.seal(path, artifacts.tiny_manifest("savedmodel"))
    return path


def state_of(folder: Path) -> dict[str, bytes | str]:
    """Every name in a folder, with its content or its kind."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else "folder"
        if path.is_dir()
        else path.read_bytes()
        for path in folder.rglob("*")
    }


def change_folder(folder: Path, name: str, change: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if change != "append" and os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if change == "folder":
        path.mkdir(parents=True)
    elif change == "link":
        path.symlink_to("../outside" if content else "saved_model.pb")
    elif change in {"write", "append"} and not path.is_dir() and not path.is_symlink():
        with path.open("ab") as file:
            file.write(content)


@many(150)
@given(
    changes=st.lists(
        st.tuples(
            NAMES, st.sampled_from(["write", "append", "remove", "folder", "link"]), FRAGMENTS
        ),
        max_size=3,
    ),
    listed=st.booleans(),
)
def test_changed_folders_are_refused_or_read(
    scratch: Path, changes: list[tuple[str, str, bytes]], listed: bool
) -> None:
    folder = sealed_folder(scratch / "model.savedmodel")
    before = {name for name, kind in state_of(folder).items() if kind != "folder"}
    contents = state_of(folder)
    for name, change, content in changes:
        change_folder(folder, name, change, content)
    if listed and not (folder / savedmodel.DIGESTS_NAME).is_dir():
        write_list(folder)
    with fuzzing.watchdog():
        try:
            artifact = read_artifact(folder)
        except ArtifactError:
            return
    assert artifact.manifest == artifacts.tiny_manifest("savedmodel")
    if not listed:
        now = state_of(folder)
        assert {name: now.get(name) for name in before} == {n: contents[n] for n in before}
        assert {name for name, kind in now.items() if kind != "folder"} == before


def write_list(folder: Path) -> None:
    """The list of digests as someone would write it over a changed folder."""
    path = folder / savedmodel.DIGESTS_NAME
    lines = []
    for item in sorted(folder.rglob("*")):
        if item.is_file() and item != path:
            name = os.fsencode(item.relative_to(folder))
            lines.append(hashlib.sha256(item.read_bytes()).hexdigest().encode() + b"  " + name)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_folder_with_a_list_written_anew_is_read(scratch: Path) -> None:
    folder = sealed_folder(scratch / "anew.savedmodel")
    write_list(folder)  # or the listed cases above reach nothing
    assert read_artifact(folder).format == "savedmodel"
    assert np.array_equal(sorted(state_of(folder)), sorted(state_of(sealed_folder(folder))))
