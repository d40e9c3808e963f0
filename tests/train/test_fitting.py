"""The training loop: progress, repeatability, and averages that do not lag."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.tiny_training import (
    CONFIG,
    LABELLING,
    SPEC,
    TINY,
    bright_and_dark,
    build_tiny,
    make_preset,
)

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import TrainingError
from edgecell_train import averages, optimization
from edgecell_train.config import TrainConfig
from edgecell_train.fitting import Fitted, LabelledPixels, Subject, fit
from edgecell_train.labelling import Labelling
from edgecell_train.presets import Preset
from edgecell_train.runs import weights_sha256

# 130 images: the averages are estimated on a batch of 128 and one of 2.
TRAINING, VALIDATION = bright_and_dark(130), bright_and_dark(60, seed=1)
STEPS_PER_EPOCH = 5


def _ignore(done: int, total: int, words: str) -> None:
    """Follows nothing."""


def _fit(
    preset: Preset = TINY,
    config: TrainConfig = CONFIG,
    labelling: Labelling = LABELLING,
    progress: Callable[[int, int, str], None] = _ignore,
) -> Fitted:
    return fit(Subject(preset, config, SPEC.shape, labelling), TRAINING, VALIDATION, progress)


def _validation_loss(model: Any, part: LabelledPixels = VALIDATION) -> float:
    outputs = model.predict(part.pixels, verbose=0).astype(np.float64)
    shares = outputs / outputs.sum(axis=1, keepdims=True)
    return float(-np.log(shares[np.arange(len(shares)), part.truth]).mean())


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    """What the training of ``fitted`` told."""
    return []


@pytest.fixture(scope="module")
def fitted(told: list[tuple[int, int, str]]) -> Fitted:
    return _fit(progress=lambda done, total, words: told.append((done, total, words)))


@pytest.fixture(scope="module")
def lagging() -> Fitted:
    """The same training with the averages that it leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averages, "reestimate", lambda model, pixels: None)
        return _fit()


def test_progress_counts_the_steps_of_all_epochs_to_the_end(
    fitted: Fitted, told: list[tuple[int, int, str]]
) -> None:
    total = CONFIG.epochs * STEPS_PER_EPOCH
    assert [(done, of) for done, of, _ in told] == [(i, total) for i in range(1, total + 1)]
    assert told[0][2].startswith("epoch 1/2, accuracy 0.")
    assert "validation" not in told[STEPS_PER_EPOCH - 1][2]
    known = f"validation {fitted.history[0].validation_accuracy:.3f}"
    assert told[STEPS_PER_EPOCH][2].startswith("epoch 2/2, accuracy ")
    assert told[-1][2].endswith(known)


def test_history_has_a_record_an_epoch_and_the_best_is_the_models(fitted: Fitted) -> None:
    assert [record.epoch for record in fitted.history] == [1, 2]
    best = min(fitted.history, key=lambda record: record.validation_loss)
    assert fitted.kept_epoch == best.epoch
    assert best.validation_loss == pytest.approx(_validation_loss(fitted.model))


def test_weights_of_an_earlier_epoch_are_kept_when_later_ones_are_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def spoil_from_the_second(model: Any, training: LabelledPixels) -> None:
        calls.append(len(training))
        if len(calls) > 1:
            norm = model.get_layer("norm")
            norm.moving_mean.assign(norm.moving_mean + 1e3)

    monkeypatch.setattr(averages, "reestimate", spoil_from_the_second)
    fitted = _fit(config=dataclasses.replace(CONFIG, epochs=3))
    assert calls == [len(TRAINING)] * 3
    assert fitted.kept_epoch == 1
    assert _validation_loss(fitted.model) == pytest.approx(fitted.history[0].validation_loss)


def test_same_seed_gives_the_same_weights_and_another_gives_others(fitted: Fitted) -> None:
    assert weights_sha256(_fit().model) == weights_sha256(fitted.model)
    other = _fit(config=dataclasses.replace(CONFIG, seed=CONFIG.seed + 1))
    assert weights_sha256(other.model) != weights_sha256(fitted.model)


def test_validation_is_far_better_with_averages_estimated_anew(
    fitted: Fitted, lagging: Fitted
) -> None:
    assert fitted.history[0].loss == pytest.approx(lagging.history[0].loss), "the same training"
    for new, old in zip(fitted.history, lagging.history, strict=True):
        assert new.validation_loss < 0.8 * old.validation_loss


def test_averages_are_those_of_all_training_images_without_dropout(fitted: Fitted) -> None:
    keras = import_keras()
    norm = fitted.model.get_layer("norm")
    before = keras.Model(fitted.model.inputs, norm.input)
    values = before.predict(TRAINING.pixels, verbose=0).astype(np.float64)
    np.testing.assert_allclose(norm.moving_mean.numpy(), values.mean(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(norm.moving_variance.numpy(), values.var(axis=(0, 1, 2)), rtol=0.02)


def test_momentum_and_dropout_are_what_they_were_after_training(fitted: Fitted) -> None:
    fresh = build_tiny(SPEC.shape, 2)
    for name, attribute in (("norm", "momentum"), ("dropout", "rate")):
        found = getattr(fitted.model.get_layer(name), attribute)
        assert found == getattr(fresh.get_layer(name), attribute)
        assert found > 0


def test_momentum_and_dropout_are_what_they_were_when_the_estimation_fails() -> None:
    model = build_tiny(SPEC.shape, 2)
    wrong_size = np.zeros((4, 2 * SPEC.height, SPEC.width, 3), np.uint8)
    part = LabelledPixels(wrong_size, np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="incompatible"):
        averages.reestimate(model, part)
    assert model.get_layer("norm").momentum == build_tiny(SPEC.shape, 2).get_layer("norm").momentum
    assert model.get_layer("dropout").rate == build_tiny(SPEC.shape, 2).get_layer("dropout").rate


def _without_averages(shape: tuple[int, ...], labels: int) -> Any:
    keras = import_keras()
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(labels, activation="sigmoid"),
        ]
    )


def test_training_works_when_the_model_has_no_averages() -> None:
    fitted = _fit(make_preset(_without_averages))
    assert _validation_loss(fitted.model) == pytest.approx(fitted.kept.validation_loss)
    assert all(record.validation_loss_before is None for record in fitted.history)


@pytest.mark.parametrize(("batch_size", "what"), [(32, "training loss"), (130, "largest weight")])
def test_loss_that_is_no_number_is_refused(
    batch_size: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a step, the model's answers are sound; after one, they are not numbers."""
    sgd = import_keras().optimizers.SGD
    monkeypatch.setattr(optimization, "optimizer", lambda config, steps: sgd(float("inf")))
    config = dataclasses.replace(CONFIG, batch_size=batch_size)
    with pytest.raises(TrainingError, match=f"The {what} became (nan|inf) in epoch 1"):
        _fit(make_preset(_without_averages), config)
