"""A learner follows its teachers, who stay as they are and know nobody whom it is tested on."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_training import (
    CONFIG,
    LABELLING,
    SPEC,
    Watcher,
    bright_and_dark,
    make_preset,
    train_tiny,
    write_cells,
)

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import DataError, RunError, UsageError
from edgecell_runtime.heads import Head
from edgecell_train.config import Distillation, Optimizer, Stopping, TrainConfig
from edgecell_train.distilling import Teacher
from edgecell_train.fitting import Fitted, LabelledPixels, Subject, fit
from edgecell_train.runs import Run, weights_sha256

TRAINING, VALIDATION = bright_and_dark(130), bright_and_dark(60, seed=1)


def judge(slope: float, side: int = SPEC.height) -> Teacher:
    """Says by brightness how probable the first label is; a negative slope is always wrong."""
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Rescaling(1 / 20, offset=-130 / 20),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.set_weights([np.full((3, 1), slope / 3, np.float32), np.zeros(1, np.float32)])
    return Teacher(model, Head("sigmoid", LABELLING.labels[0]), 1.0)


def build_learner(shape: tuple[int, ...], labels: int) -> Any:
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255, offset=-0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(labels, activation="sigmoid"),
        ]
    )


def learn(*teachers: Teacher, weight: float = 1.0, temperature: float = 1.0) -> Fitted:
    config = dataclasses.replace(
        CONFIG,
        epochs=6,
        optimizer=Optimizer("adam", 0.1),
        distillation=Distillation(weight, temperature),
        stopping=Stopping(keep="last"),  # the best by the labels is not what the teacher wants
    )
    subject = Subject(make_preset(build_learner), config, SPEC.shape, LABELLING, teachers)
    return fit(subject, TRAINING, VALIDATION, lambda done, total, words: None)


def accuracy(fitted: Fitted, part: LabelledPixels = VALIDATION) -> float:
    answers = fitted.model.predict(part.pixels, verbose=0)
    return float((answers.argmax(axis=1) == part.truth).mean())


@pytest.mark.parametrize(("slope", "follows"), [(2.0, True), (-2.0, False)])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_learner_says_what_its_teacher_says(
    slope: float, follows: bool, temperature: float
) -> None:
    found = accuracy(learn(judge(slope), temperature=temperature))
    assert found > 0.9 if follows else found < 0.1


def test_labels_and_teacher_share_the_loss() -> None:
    assert accuracy(learn(judge(-2.0), weight=0.2)) > 0.9
    assert accuracy(learn(judge(-2.0), weight=0.8)) < 0.1


def test_several_teachers_teach_their_mean() -> None:
    strong, weak = judge(6.0), judge(-2.0)
    assert accuracy(learn(strong, weak)) > 0.9


def test_teacher_of_another_size_sees_the_images_at_its_own() -> None:
    assert accuracy(learn(judge(-2.0, side=20))) < 0.1


def test_teachers_that_count_for_nothing_change_nothing() -> None:
    assert weights_sha256(learn(judge(2.0), weight=0.0).model) == weights_sha256(learn().model)


def test_teacher_stays_as_it_was() -> None:
    teacher = judge(2.0)
    before = weights_sha256(teacher.model)
    learn(teacher)
    assert weights_sha256(teacher.model) == before


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def taught_by(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tiny(cells, tmp_path_factory.mktemp("teacher")).run


def config_with(teacher: Path, **options: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, teachers=(str(teacher),), **options)


def test_run_says_who_taught(cells: Path, taught_by: Run, tmp_path: Path) -> None:
    run = train_tiny(cells, tmp_path, config=config_with(taught_by.folder)).run
    assert any(taught_by.folder.name in note for note in run.record.training_notes)
    assert "teachers" not in run.record.configuration, "a path is not the model's business"


def test_teacher_that_knows_the_test_patients_is_refused(
    cells: Path, taught_by: Run, tmp_path: Path
) -> None:
    config = config_with(taught_by.folder, seed=CONFIG.seed + 1)
    with pytest.raises(DataError, match=r"knows patient P\d+, of the (test|validation) part"):
        train_tiny(cells, tmp_path, config=config)
    assert list(tmp_path.iterdir()) == []


def test_teacher_with_other_labels_is_refused(taught_by: Run, tmp_path: Path) -> None:
    other = write_cells(tmp_path / "cells")
    (other / "Parasitized").rename(other / "ring")
    with pytest.raises(UsageError, match="knows the labels Parasitized, Uninfected"):
        train_tiny(other, tmp_path / "runs", config=config_with(taught_by.folder))


def test_missing_teacher_is_refused_before_images_are_read(cells: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    with pytest.raises(RunError, match="nobody"):
        train_tiny(cells, tmp_path, config=config_with(tmp_path / "nobody"), watcher=watcher)
    assert watcher.seen == {}
