"""What a training leaves: every file of the run, and that they agree with each other."""

import contextlib
import csv
import dataclasses
import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded
from support.tiny_training import (
    CONFIG,
    PATIENTS,
    SPEC,
    TINY,
    Watcher,
    train_tiny,
)

from edgecell_export.known_images import read_known
from edgecell_export.source import logits_of_outputs, source_outputs
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import DataError, StorageError, TrainingError, UsageError
from edgecell_runtime.heads import Head
from edgecell_train import optimization, training
from edgecell_train.config import TrainConfig
from edgecell_train.config_files import scalars
from edgecell_train.fitting import Fitted
from edgecell_train.presets import find_preset
from edgecell_train.runs import find_run
from edgecell_train.statistics import evaluate
from edgecell_train.training import Job, Outcome, positive_label

LABELS = ("Parasitized", "Uninfected")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_noise(folder: Path, labels: tuple[str, ...], each: int) -> Path:
    """Images without a patient, of another brightness for each class."""
    rng = np.random.default_rng(0)
    for index, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(40 * index, 40 * index + 120, (16, 16, 3)).astype(np.uint8)
            (folder / label / f"{i}.png").write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    return folder


def test_run_has_its_files_and_no_others(outcome: Outcome) -> None:
    assert {path.name for path in outcome.run.folder.iterdir()} == {
        "tiny.keras",
        "run.json",
        "split.csv",
        "answers.csv",
        "history.csv",
        "history.png",
        "config.toml",
        "patients.csv",
    }
    runs = outcome.run.folder.parent
    assert {path.name for path in runs.iterdir()} == {"latest", outcome.run.folder.name}
    assert (runs / "latest").resolve() == outcome.run.folder


def test_record_says_what_was_trained_and_on_what(outcome: Outcome, cells: Path) -> None:
    record = outcome.run.record
    assert record.preset == "tiny"
    assert record.configuration == scalars(CONFIG)
    assert record.configuration["epochs"] == CONFIG.epochs
    assert record.configuration["optimizer.name"] == "adam"
    assert record.seed == CONFIG.seed
    assert (record.labels, record.positive_label) == (LABELS, "Parasitized")
    assert (record.preprocessing, record.head) == (SPEC, Head("normalised_sigmoid"))
    assert 1 <= record.kept_epoch <= CONFIG.epochs
    assert {"edgecell", "keras", "numpy"} <= record.versions.keys()
    data = record.data
    assert data.location == str(cells)
    assert data.sha256 == outcome.decoded.data_sha256
    assert (data.images, data.patients, data.without_patient) == (201, PATIENTS, 1)
    assert data.unreadable == ("Parasitized/C1P1ThinF_IMG_broken.png",)
    assert not data.drawn


def test_record_is_read_back_the_same(outcome: Outcome) -> None:
    assert find_run(outcome.run.folder).record == outcome.run.record


def test_split_names_every_readable_image_and_keeps_patients_together(outcome: Outcome) -> None:
    rows = outcome.run.split()
    decoded = outcome.decoded
    assert [row.image.name for row in rows] == [image.name for image in decoded.images]
    assert [row.image.sha256 for row in rows] == list(decoded.sha256)
    assert [(row.image.label, row.image.patient) for row in rows] == [
        (image.label, image.patient) for image in decoded.images
    ]
    assert [row.part for row in rows] == outcome.parts.tolist()
    parts: dict[str, set[str]] = {}
    for row in rows:
        if row.image.patient is not None:
            parts.setdefault(row.image.patient, set()).add(row.part)
    assert len(parts) == PATIENTS
    assert all(len(found) == 1 for found in parts.values())


def test_answers_are_those_of_the_saved_model_from_the_files_on(outcome: Outcome) -> None:
    run = outcome.run
    source, answers = run.source_model(), run.answers()
    with run.open_images() as images:
        pixels = [source.preprocessing.apply(read_known(images, a.image)) for a in answers]
    logits = logits_of_outputs(source_outputs(source.model, np.stack(pixels)), source.head)
    found = source.head.probabilities(logits, source.labels, source.temperature)
    stored = np.array([answer.probabilities for answer in answers])
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(stored, outcome.probabilities)
    assert stored.std() > 1e-3, "else any answer would do"


def test_answers_are_of_the_test_images(outcome: Outcome) -> None:
    tested = [row.image for row in outcome.run.split() if row.part == "test"]
    answered = [answer.image for answer in outcome.run.answers()]
    assert [(image.name, image.sha256, image.label) for image in answered] == [
        (image.name, image.sha256, image.label) for image in tested
    ]


def test_evidence_keeps_parts_apart_and_knows_whom_images_are_of(outcome: Outcome) -> None:
    rows = outcome.run.split()
    with outcome.run.open_images() as images:
        evidence = outcome.run.evidence(images)
    by_part = {
        "training": list(evidence.training),
        "validation": list(evidence.validation),
        "test": [answer.image for answer in evidence.held_out],
    }
    for part, found in by_part.items():
        assert found == [row.image for row in rows if row.part == part]


def test_evaluation_is_that_of_the_stored_answers_over_the_patients(outcome: Outcome) -> None:
    patients = {row.image.name: row.image.patient for row in outcome.run.split()}
    answers = outcome.run.answers()
    assert outcome.run.record.evaluation == evaluate(
        np.array([LABELS.index(answer.image.label) for answer in answers]),
        np.array([answer.probabilities for answer in answers]),
        [patients[answer.image.name] for answer in answers],
        labels=LABELS,
        positive_label="Parasitized",
        threshold=outcome.run.record.threshold,
    )


def test_history_is_that_of_the_fitting(outcome: Outcome, fits: list[Fitted]) -> None:
    rows = _rows(outcome.run.folder / "history.csv")
    found = [{k: float(v) if v else None for k, v in row.items()} for row in rows]
    assert found == [dataclasses.asdict(record) for record in fits[0].history]
    assert len(found) == CONFIG.epochs


def test_history_has_the_saved_models_validation(outcome: Outcome) -> None:
    chosen = outcome.parts == "validation"
    truth = np.array([LABELS.index(image.label) for image in outcome.decoded.images])[chosen]
    model = outcome.run.source_model().model
    answers = model.predict(outcome.decoded.pixels[chosen], verbose=0)
    kept = _rows(outcome.run.folder / "history.csv")[outcome.run.record.kept_epoch - 1]
    assert float(kept["validation_accuracy"]) == pytest.approx((answers.argmax(1) == truth).mean())


def test_history_is_plotted(outcome: Outcome) -> None:
    with Image.open(outcome.run.folder / "history.png") as plot:
        assert plot.format == "PNG"
        assert np.asarray(plot.convert("L")).std() > 5


def test_saved_model_holds_no_state_of_the_optimiser(outcome: Outcome) -> None:
    with zipfile.ZipFile(outcome.run.model_file) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:
        assert "layers" in file
        assert "optimizer" not in file


def test_watcher_follows_every_stage_to_its_end(outcome: Outcome, watcher: Watcher) -> None:
    assert list(watcher.seen) == ["Reading images", "Training", "Testing"]
    for told in watcher.seen.values():
        done, total, _ = told[-1]
        assert done == total
    assert watcher.seen["Reading images"][-1][0] == 202


@pytest.mark.slow
def test_second_training_is_the_latest_and_leaves_the_first_alone(
    outcome: Outcome, cells: Path, tmp_path: Path
) -> None:
    first = train_tiny(cells, tmp_path).run
    second = train_tiny(cells, tmp_path).run
    assert first.folder != second.folder
    assert find_run(tmp_path / "latest").folder == second.folder
    assert find_run(first.folder).record == first.record
    assert first.record.weights_sha256 == second.record.weights_sha256
    assert first.record.weights_sha256 == outcome.run.record.weights_sha256


def test_runs_that_end_in_the_same_second_leave_each_other_alone(
    outcome: Outcome, tmp_path: Path
) -> None:
    told: list[Path] = []
    job = Job(TINY, CONFIG)
    with contextlib.ExitStack() as stack:
        for number in range(3):  # all begin to write before one ends
            place = training._placed(tmp_path, job, outcome.run.record, told.append)
            folder = stack.enter_context(place)
            folder.mkdir()
            (folder / "which").write_text(str(number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0].endswith("-tiny")
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]
    assert {(tmp_path / name / "which").read_text() for name in names} == {"0", "1", "2"}


def test_drawn_cells_move_into_the_run_and_with_it(cells: Path, tmp_path: Path) -> None:
    archive = tmp_path / "drawing" / "cells.zip"
    archive.parent.mkdir()
    archive.write_bytes((cells.parent / "cells.zip").read_bytes())
    run = train_tiny(archive, tmp_path / "runs", drawn=True).run
    assert not archive.exists()
    assert (run.record.data.location, run.record.data.drawn) == ("drawn-cells.zip", True)
    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = find_run(tmp_path / "moved" / "latest")
    with moved.open_images() as images:
        for answer in moved.answers():
            read_known(images, answer.image)
    assert moved.source_model().source.drawn


@pytest.mark.parametrize(
    ("labels", "asked", "expected"),
    [
        (LABELS, None, "Parasitized"),
        (LABELS, "Uninfected", "Uninfected"),
        (("parasitized", "ring"), None, None),
        (("none", "ring"), "ring", "ring"),
    ],
)
def test_positive_label_is_the_one_asked_for_or_parasitized(
    labels: tuple[str, ...], asked: str | None, expected: str | None
) -> None:
    assert positive_label(labels, asked) == expected


def test_unknown_positive_label_is_refused_before_anything_is_read(
    cells: Path, tmp_path: Path
) -> None:
    watcher = Watcher()
    with pytest.raises(UsageError, match="--positive ring is none of the labels; they are Para"):
        train_tiny(
            cells, tmp_path, config=dataclasses.replace(CONFIG, positive="ring"), watcher=watcher
        )
    assert watcher.seen == {}


def test_runs_that_cannot_be_written_are_refused_before_anything_is_read(
    cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    watcher = Watcher()
    with pytest.raises(StorageError, match="could not be written"):
        train_tiny(cells, tmp_path / "file" / "runs", watcher=watcher)
    assert watcher.seen == {}


def test_too_few_images_are_refused_and_leave_no_run(tmp_path: Path) -> None:
    data = _write_noise(tmp_path / "noise", LABELS, each=9)
    with pytest.raises(DataError, match="There are 9 readable images of Parasitized"):
        train_tiny(data, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_diverged_training_is_refused_and_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sgd = import_keras().optimizers.SGD
    monkeypatch.setattr(optimization, "optimizer", lambda config, steps: sgd(float("nan")))
    data = _write_noise(tmp_path / "noise", LABELS, each=20)
    with pytest.raises(TrainingError, match=r"diverged.*--set optimizer\.learning_rate="):
        train_tiny(data, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_no_binary_figure_is_given_without_a_positive_label(tmp_path: Path) -> None:
    data = _write_noise(tmp_path / "noise", ("none", "ring"), each=20)
    record = train_tiny(data, tmp_path / "runs").run.record
    evaluation = record.evaluation
    assert record.positive_label is None
    assert (evaluation.sensitivity, evaluation.specificity, evaluation.auc) == (None, None, None)
    assert (evaluation.n, evaluation.patients) == (8, 0)
    assert (record.data.patients, record.data.without_patient) == (0, 40)


@pytest.mark.slow
def test_three_classes_train_and_malaria_cnn_too(tmp_path: Path) -> None:
    labels = ("Parasitized", "debris", "none")
    data = _write_noise(tmp_path / "noise", labels, each=10)
    config = TrainConfig(epochs=1, batch_size=16)
    for preset in (TINY, find_preset("malaria-cnn")):
        outcome = train_tiny(data, tmp_path / "runs", preset=preset, config=config)
        record = outcome.run.record
        assert (record.labels, record.positive_label) == (labels, "Parasitized")
        assert record.evaluation.auc is not None
        assert outcome.probabilities.shape == (6, 3)
        np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1)
        assert find_run(tmp_path / "runs" / "latest").source_model().labels == labels
