import csv
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models
from support.command_line import (
    invoke,
    positive_probability,
    seal,
    write_cells,
    write_file,
)

from edgecell_export import savedmodel_session
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.image_sources import FolderFiles
from edgecell_runtime.labelled import data_sha256
from edgecell_runtime.manifest import Evaluation, Format
from edgecell_train.statistics import evaluate

P, U = artifacts.LABELS
BOTH = pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
CELLS = {f"C{i % 4}P{i % 4}thinF_IMG_{i}.png": (P, U, U)[i % 3] for i in range(24)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells", CELLS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


def expected_evaluation(seeds: Sequence[int], threshold: float = 0.5) -> Evaluation:
    """The figures of the tiny graphs on some of ``CELLS``, in the order of the set."""
    cells = sorted(
        (f"{label}/{name}", seed)
        for seed, (name, label) in enumerate(CELLS.items())
        if seed in seeds
    )
    probabilities: NDArray[np.float64] = np.array([positive_probability(seed) for _, seed in cells])
    return evaluate(
        np.array([int(name.startswith(U)) for name, _ in cells]),
        np.stack([probabilities, 1 - probabilities], axis=1),
        [name.partition("/")[2].partition("thin")[0] for name, _ in cells],
        labels=artifacts.LABELS,
        positive_label=P,
        threshold=threshold,
    )


@BOTH
def test_figures_are_those_of_the_graph_with_intervals_over_patients(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], artifact_format: Format
) -> None:
    path = artifacts.write_artifact(tmp_path, artifact_format)
    outcome = invoke(capsys, "evaluate", path, "--data", data, "--json")
    assert outcome.status == 0
    document = outcome.document
    for name, expected in dataclasses.asdict(expected_evaluation(range(24))).items():
        # Probabilities of float32 graphs: the last digits are the engine's.
        assert document.pop(name) == pytest.approx(expected, abs=1e-6), name
    assert document == {
        "artifact": str(path),
        "loosened": False,
        "threshold": 0.5,
        "undisputed": None,
        "skipped": [],
    }
    assert expected_evaluation(range(24)).patients == 4
    assert outcome.err == ""


def test_decisions_are_made_at_the_threshold_of_the_artifact(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = dataclasses.replace(artifacts.tiny_manifest("onnx"), threshold=0.0)
    path = seal(tmp_path / "eager.onnx", manifest)
    document = invoke(capsys, "evaluate", path, "--data", data, "--json").document
    assert document["threshold"] == 0
    assert document["sensitivity"]["value"] == 1
    assert document["specificity"]["value"] == 0


def test_table_shows_every_figure_with_its_interval(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "evaluate", model, "--data", data)
    accuracy = expected_evaluation(range(24)).accuracy
    shown = f"{accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f})"
    assert "tiny.onnx on 24 images, 4 patients, threshold 0.5" in outcome.out
    assert shown in outcome.out
    shown_names = ("sensitivity", "specificity", "AUC", "precision", "F1", "average precision")
    assert all(name in outcome.out for name in (*shown_names, "Brier score", "calibration error"))
    assert "macro F1" not in outcome.out


def test_csv_has_the_figures_with_all_digits(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "figures.csv"
    document = invoke(
        capsys, "evaluate", model, "--data", data, "--json", "--output", table
    ).document
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    by_name = {row["figure"]: row for row in rows}
    assert by_name["n"]["value"] == "24"
    assert float(by_name["AUC"]["low"]) == document["auc"]["low"]
    assert float(by_name["accuracy"]["value"]) == document["accuracy"]["value"]


def test_unreadable_image_is_named_and_left_out_with_status_3(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(data / f"{P}/bad.png")
    outcome = invoke(capsys, "evaluate", model, "--data", data, "--json")
    assert outcome.status == 3
    assert outcome.document["n"] == 24
    (skipped,) = outcome.document["skipped"]
    assert skipped["image"] == f"{P}/bad.png"
    assert skipped["reason"].startswith(f"{P}/bad.png is not an image that can be read")
    assert f"Skipped: {skipped['reason']}" in outcome.err


def test_strict_stops_at_the_first_unreadable_image(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(data / f"{P}/bad.png")
    outcome = invoke(capsys, "evaluate", model, "--data", data, "--strict", "--json")
    assert (outcome.status, outcome.out) == (1, "")
    assert f"{P}/bad.png is not an image that can be read" in outcome.err


def test_command_fails_when_no_image_can_be_read(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        write_file(tmp_path / f"cells/{P}/{name}")
    outcome = invoke(capsys, "evaluate", model, "--data", tmp_path / "cells")
    assert outcome.status == 1
    assert "Not one of 2 images could be read" in outcome.err


def test_other_labels_than_the_artifacts_are_refused_naming_both(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_cells(tmp_path / "pets", {"a.png": "Cat", "b.png": P})
    outcome = invoke(capsys, "evaluate", model, "--data", folder)
    assert outcome.status == 1
    assert f"images of the classes Cat, {P}; the artifact's labels are {P}, {U}." in outcome.err


def test_one_class_alone_leaves_undefined_figures_out(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"C{i}P{i}thinF_IMG_{i}.png" for i in range(3)]
    folder = write_cells(tmp_path / "cells", dict.fromkeys(names, P))
    document = invoke(capsys, "evaluate", model, "--data", folder, "--json").document
    outcome = invoke(capsys, "evaluate", model, "--data", folder)
    assert outcome.status == 0
    assert document["sensitivity"] is not None
    assert (document["specificity"], document["auc"]) == (None, None)
    assert "sensitivity" in outcome.out
    assert "specificity" not in outcome.out
    assert f"All images are {P}" in outcome.err


def test_accuracy_stands_alone_when_there_is_no_positive_label(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = dataclasses.replace(artifacts.tiny_manifest("onnx"), positive_label=None)
    outcome = invoke(capsys, "evaluate", seal(tmp_path / "plain.onnx", manifest), "--data", data)
    assert "accuracy" in outcome.out
    assert "sensitivity" not in outcome.out
    assert "no positive label" in outcome.err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.png", "C1P1thinF_IMG_b.png"), "1 image of 2 without a patient"),
        (("C1P1thinF_IMG_a.png", "C1P1thinF_IMG_b.png"), "All images come from one patient"),
    ],
)
def test_samples_that_say_little_about_other_patients_are_named(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, str],
    message: str,
) -> None:
    folder = write_cells(tmp_path / "cells", dict(zip(names, (P, U), strict=True)))
    assert message in invoke(capsys, "evaluate", model, "--data", folder).err


def test_images_that_the_model_was_made_with_are_said_to_be_such(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path.relative_to(data).as_posix(): path for path in data.rglob("*.png")}
    digest = data_sha256(
        (hashlib.sha256(path.read_bytes()).hexdigest(), name) for name, path in files.items()
    )
    manifest = artifacts.tiny_manifest("onnx")
    source = dataclasses.replace(manifest.source, data_sha256=digest)
    path = seal(tmp_path / "own.onnx", dataclasses.replace(manifest, source=source))
    assert "the figures are too good" in invoke(capsys, "evaluate", path, "--data", data).err
    next(iter(files.values())).unlink()
    assert "too good" not in invoke(capsys, "evaluate", path, "--data", data).err


def test_each_file_is_read_once(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_one = FolderFiles.read

    def count(self: FolderFiles, name: str) -> bytes:
        read.append(name)
        return read_one(self, name)

    monkeypatch.setattr(FolderFiles, "read", count)
    assert invoke(capsys, "evaluate", model, "--data", data).status == 0
    assert sorted(read) == sorted(f"{label}/{name}" for name, label in CELLS.items())


def test_savedmodel_is_evaluated_by_the_session_that_knows_it(
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "tiny.savedmodel"
    write_file(folder / "saved_model.pb", b"graph")
    savedmodel.seal(folder, artifacts.tiny_manifest("savedmodel"))

    def answer(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        return models.expected_logits(pixels.astype(np.uint8)).astype(np.float32)

    monkeypatch.setattr(
        savedmodel_session,
        "SavedModelSession",
        lambda path, threads: FakeSession(artifacts.signature(), answer),
    )
    document = invoke(capsys, "evaluate", folder, "--data", data, "--json").document
    expected = expected_evaluation(range(24))
    assert document["accuracy"]["value"] == expected.accuracy.value


@pytest.mark.parametrize(
    ("artifact", "cells", "message"),
    [
        ("missing.onnx", "cells", "There is no artifact"),
        ("cells", "cells", "is a folder without a saved_model.pb"),
        ("tiny.onnx", "missing", "missing"),
        ("tiny.onnx", "tiny.onnx", "is neither a folder nor a zip"),
    ],
)
@pytest.mark.usefixtures("model", "data")
def test_wrong_path_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], artifact: str, cells: str, message: str
) -> None:
    outcome = invoke(capsys, "evaluate", tmp_path / artifact, "--data", tmp_path / cells)
    assert (outcome.status, outcome.out) == (1, "")
    assert message in outcome.err


def test_wrong_usage_ends_with_status_2(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(capsys, "evaluate", model).status == 2
    assert invoke(capsys, "evaluate", model, "--data", data, "--output", "x.txt").status == 2


def test_figures_stand_with_and_without_disputed_images(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "disputed.csv"
    names = [f"{label}/{name}" for name, label in CELLS.items()]
    table.write_text(
        "path,disputed_label\n" + "".join(f"{n},{int(i < 5)}\n" for i, n in enumerate(names))
    )
    arguments = ("evaluate", model, "--data", data, "--disputed", table)
    document = invoke(capsys, *arguments, "--json").document
    assert (document["n"], document["undisputed"]["n"]) == (24, 19)
    expected = dataclasses.asdict(expected_evaluation(range(5, 24)))
    assert document["undisputed"]["auc"] == pytest.approx(expected["auc"])
    written = tmp_path / "figures.csv"
    assert "without 5 disputed images" in invoke(capsys, *arguments, "--output", written).out
    assert f"undisputed AUC,{document['undisputed']['auc']['value']}" in written.read_text()


def test_disputed_table_of_other_images_is_refused(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "disputed.csv"
    table.write_text("path,disputed_label\nelsewhere/other.png,1\n")
    outcome = invoke(capsys, "evaluate", model, "--data", data, "--disputed", table)
    assert outcome.status == 1
    assert "disputes 1 image, such as elsewhere/other.png, and none of them is in" in outcome.err


def test_every_image_disputed_leaves_the_figures_on_all(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "disputed.csv"
    table.write_text(
        "path,disputed_label\n" + "".join(f"{label}/{n},1\n" for n, label in CELLS.items())
    )
    outcome = invoke(capsys, "evaluate", model, "--data", data, "--disputed", table, "--json")
    assert (outcome.document["n"], outcome.document["undisputed"]) == (24, None)
    assert "Every image has a disputed label" in outcome.err


def test_figures_of_each_patient_are_written_as_csv(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "patients.csv"
    assert invoke(capsys, "evaluate", model, "--data", data, "--by-patient", table).status == 0
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["patient"] for row in rows] == ["P0", "P1", "P2", "P3"]
    assert [row["n"] for row in rows] == ["6"] * 4


def test_table_of_patients_in_another_format_is_refused(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "evaluate", model, "--data", data, "--by-patient", tmp_path / "p.md")
    assert (outcome.status, outcome.out) == (2, "")
    assert "is no .csv file" in outcome.err
