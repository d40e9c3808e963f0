"""Finding a run again, and what is said of a damaged one."""

import dataclasses
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from support.tiny_training import PATIENTS, SPEC, build_tiny

from edgecell_export.known_images import read_known
from edgecell_runtime.errors import DataError, RunError
from edgecell_train import findings, run_writing
from edgecell_train.carried import source_of
from edgecell_train.config import Optimizer
from edgecell_train.config_files import scalars
from edgecell_train.presets import find_preset
from edgecell_train.runs import Run, find_run, run_of_artifact, weights_sha256
from edgecell_train.training import Outcome


@pytest.fixture
def run(outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run, in ``runs/`` of the working folder, to be damaged."""
    shutil.copytree(outcome.run.folder.parent, tmp_path / "runs", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return find_run(None)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_latest_run_is_found_without_a_path(run: Run, outcome: Outcome) -> None:
    assert run.folder == Path.cwd() / "runs" / outcome.run.folder.name
    assert run.record == outcome.run.record


def test_run_is_found_by_its_path_by_its_name_in_runs_and_by_latest(run: Run) -> None:
    for path in (run.folder, Path(run.folder.name), Path("runs") / run.folder.name, Path("latest")):
        assert find_run(path) == run


def test_no_run_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run here \(runs/latest is missing\).*`edgecell train`"):
        find_run(None)


def test_folder_of_folds_is_refused_with_the_name_of_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "fold-1").symlink_to(run.folder)
    with pytest.raises(RunError, match=r"is a cross-validation.*name one, such as .*fold-1"):
        find_run(tmp_path / "folds")


@pytest.mark.parametrize("name", ["nowhere", "runs", "run.json"])
def test_path_that_is_no_run_is_refused_by_its_name(run: Run, name: str) -> None:
    path = run.folder / name if name == "run.json" else Path(name)
    with pytest.raises(RunError, match=f"{name} is no run; expected a folder"):
        find_run(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"preset": "tiny"}'])
def test_damaged_record_is_refused(run: Run, content: bytes) -> None:
    (run.folder / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json cannot be read: "):
        find_run(run.folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("colour", "blue", "unknown key 'colour'"),
        ("schema_version", 2, "schema_version is 2, expected one of 1"),
        ("seed", "3", r"seed is '3', expected int"),
        ("head", {"kind": "sigmoid", "label": None}, "the sigmoid head"),
    ],
)
def test_record_with_another_content_is_refused_with_the_place(
    run: Run, key: str, value: object, message: str
) -> None:
    document: dict[str, Any] = json.loads((run.folder / "run.json").read_bytes())
    document[key] = value
    (run.folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match=message):
        find_run(run.folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",test,", ",exam,", "it has the row"),
        (",Uninfected,", ",ring,", "it has the row"),
        ("name,label,patient,part", "name,label,patient,piece", "expected the columns name, label"),
        (",test,", ",test", "too few or too many fields"),
        (",test,", ",test,,", "too few or too many fields"),
    ],
)
def test_damaged_split_is_refused(run: Run, old: str, new: str, message: str) -> None:
    _replace(run.folder / "split.csv", old, new)
    with pytest.raises(RunError, match=rf"split\.csv is damaged: .*{message}"):
        run.split()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",Uninfected,0.", ",Uninfected,zero.", "could not convert"),
        (",Uninfected,0.", ",Uninfected,7.", "it has the row"),
        (",Uninfected,0.", ",Uninfected,nan,0.", "too few or too many fields"),
        (",Uninfected,0.", ",ring,0.", "it has the row"),
        ("p(Uninfected)", "p(ring)", "expected the columns name, sha256"),
    ],
)
def test_damaged_answers_are_refused(run: Run, old: str, new: str, message: str) -> None:
    _replace(run.folder / "answers.csv", old, new)
    with pytest.raises(RunError, match=rf"answers\.csv is damaged: .*{message}"):
        run.answers()


@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_tables_are_refused(run: Run, content: bytes | None) -> None:
    for name, read in (("split.csv", run.split), ("answers.csv", run.answers)):
        (run.folder / name).unlink()
        if content is not None:
            (run.folder / name).write_bytes(content)
        with pytest.raises(RunError, match=name):
            read()


def test_source_model_carries_what_the_manifest_needs(run: Run) -> None:
    source, record = run.source_model(), run.record
    assert weights_sha256(source.model) == source.source.weights_sha256 == record.weights_sha256
    assert (source.source.data_sha256, source.source.seed) == (record.data.sha256, record.seed)
    assert source.source.versions.items() <= record.versions.items()
    assert {"edgecell", "keras", "numpy"} <= set(source.source.versions)
    assert source.source.time == record.time
    assert (source.labels, source.positive_label) == (record.labels, record.positive_label)
    assert (source.preprocessing, source.head) == (record.preprocessing, record.head)
    assert source.evaluation is not None
    assert source.evaluation.n == record.evaluation.n
    assert abs(source.evaluation.accuracy.low - record.evaluation.accuracy.low) < 1e-5


def test_source_carries_the_options_that_are_not_the_presets_own(run: Run) -> None:
    recipe = find_preset("malaria-gap").recipe
    changed = dataclasses.replace(recipe, epochs=3, optimizer=Optimizer("sgd", 0.1))
    record = dataclasses.replace(run.record, preset="malaria-gap", configuration=scalars(changed))
    assert source_of(record).configuration == {
        "preset": "malaria-gap",
        "epochs": 3,
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 0.1,
    }


def test_model_with_other_weights_is_refused(run: Run) -> None:
    run_writing.save_model(build_tiny(SPEC.shape, 2), run.model_file)
    with pytest.raises(RunError, match="not the model that this run trained: its weights"):
        run.source_model()


def test_damaged_and_missing_models_are_refused(run: Run) -> None:
    whole = run.model_file.read_bytes()
    for content in (whole[: len(whole) // 2], b"not a model", None):
        if content is None:
            run.model_file.unlink()
        else:
            run.model_file.write_bytes(content)
        with pytest.raises(RunError, match=r"tiny\.keras cannot be loaded: .*edgecell train"):
            run.source_model()


def test_weights_hash_goes_by_the_values_and_not_by_the_names_of_layers() -> None:
    model = build_tiny(SPEC.shape, 2)
    twin = build_tiny(SPEC.shape, 2)
    twin.set_weights(model.get_weights())
    assert [layer.name for layer in model.layers] != [layer.name for layer in twin.layers]
    assert weights_sha256(twin) == weights_sha256(model)
    kernel = twin.layers[0].kernel
    kernel.assign(kernel + 1e-6)
    assert weights_sha256(twin) != weights_sha256(model)


def test_evidence_has_training_images_for_calibration_and_test_images_with_answers(
    run: Run,
) -> None:
    parts = {row.image.name: row.part for row in run.split()}
    with run.open_images() as images:
        evidence = run.evidence(images)
    assert {parts[image.name] for image in evidence.training} == {"training"}
    assert {parts[answer.image.name] for answer in evidence.held_out} == {"test"}
    assert len(evidence.training) == list(parts.values()).count("training")
    assert evidence.seed == run.record.seed


def test_moved_images_are_asked_for_and_found_elsewhere(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    _replace(run.folder / "run.json", str(cells), str(cells.parent / "gone"))
    moved = find_run(run.folder)
    with pytest.raises(DataError, match=r"cannot be opened: .*gone.* with --data PATH"):
        moved.open_images()
    with moved.open_images(cells.parent / "cells.zip") as images:
        assert len({image.patient for image in images}) == PATIENTS
        read_known(images, moved.answers()[0].image)


def test_changed_image_is_noticed_by_its_hash(run: Run, cells: Path, tmp_path: Path) -> None:
    shutil.copytree(cells, tmp_path / "copy")
    known = run.answers()[0].image
    with run.open_images(tmp_path / "copy") as images:
        read_known(images, known)
        changed = tmp_path / "copy" / known.name
        changed.write_bytes(changed.read_bytes() + b"\0")
        with pytest.raises(DataError, match="was changed since the run was made"):
            read_known(images, known)


def test_run_of_an_artifact_is_the_one_in_whose_exports_it_lies(run: Run) -> None:
    assert run_of_artifact(run.exports / "tiny.tflite") == run
    assert run_of_artifact(run.folder / "tiny.tflite") is None
    (run.folder / "run.json").write_bytes(b"{")
    with pytest.raises(RunError, match="cannot be read"):
        run_of_artifact(run.exports / "tiny.tflite")


def test_links_that_lead_in_a_circle_are_no_run(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(RunError, match="is no run"):
        find_run(circle)
    assert run_of_artifact(circle) is None


def test_versions_are_of_the_libraries_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name.startswith("tensorflow"):
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(findings.metadata, "version", version)
    found = findings._versions()
    assert found["keras"] == "1.2.3"
    assert not any(name.startswith("tensorflow") for name in found)
