"""The training loop: progress, repeatability, and averages that do not lag."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny_training import OPTIONS, SPEC, TINY, bright_and_dark, build_tiny, make_preset

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import TrainingError
from edgecell_train import fitting
from edgecell_train.fitting import FitOptions, Fitted, LabelledPixels, fit
from edgecell_train.presets import Preset
from edgecell_train.runs import weights_sha256

# 130 images: the averages are estimated on a batch of 128 and one of 2.
TRAINING, VALIDATION = bright_and_dark(130), bright_and_dark(60, seed=1)
STEPS_PER_EPOCH = 5


def _ignore(done: int, total: int, words: str) -> None:
    """Follows nothing."""


def _fit(
    preset: Preset = TINY,
    options: FitOptions = OPTIONS,
    progress: Callable[[int, int, str], None] = _ignore,
) -> Fitted:
    return fit(preset, options, TRAINING, VALIDATION, progress)


def _validation_loss(model: Any, part: LabelledPixels = VALIDATION) -> float:
    targets = np.eye(2, dtype=np.float32)[part.truth]
    result = model.evaluate(part.pixels, targets, verbose=0, return_dict=True)
    return float(result["loss"])


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
        patch.setattr(fitting, "_reestimate", lambda model, pixels: None)
        return _fit()


def test_progress_counts_the_steps_of_all_epochs_to_the_end(
    fitted: Fitted, told: list[tuple[int, int, str]]
) -> None:
    total = OPTIONS.epochs * STEPS_PER_EPOCH
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

    def spoil_from_the_second(model: Any, pixels: NDArray[np.uint8]) -> None:
        calls.append(len(pixels))
        if len(calls) > 1:
            norm = model.get_layer("norm")
            norm.moving_mean.assign(norm.moving_mean + 1e3)

    monkeypatch.setattr(fitting, "_reestimate", spoil_from_the_second)
    fitted = _fit(options=dataclasses.replace(OPTIONS, epochs=3))
    assert calls == [len(TRAINING.truth)] * 3
    assert fitted.kept_epoch == 1
    assert _validation_loss(fitted.model) == pytest.approx(fitted.history[0].validation_loss)


def test_same_seed_gives_the_same_weights_and_another_gives_others(fitted: Fitted) -> None:
    assert weights_sha256(_fit().model) == weights_sha256(fitted.model)
    other = _fit(options=dataclasses.replace(OPTIONS, seed=OPTIONS.seed + 1))
    assert weights_sha256(other.model) != weights_sha256(fitted.model)


def test_validation_is_far_better_with_averages_estimated_anew(
    fitted: Fitted, lagging: Fitted
) -> None:
    assert fitted.history[0].loss == pytest.approx(lagging.history[0].loss), "the same training"
    for new, old in zip(fitted.history, lagging.history, strict=True):
        assert new.validation_loss < old.validation_loss / 2


def test_averages_are_those_of_all_training_images_without_dropout(fitted: Fitted) -> None:
    keras = import_keras()
    norm = fitted.model.get_layer("norm")
    before = keras.Model(fitted.model.inputs, norm.input)
    values = before.predict(TRAINING.pixels, verbose=0).astype(np.float64)
    np.testing.assert_allclose(norm.moving_mean.numpy(), values.mean(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(norm.moving_variance.numpy(), values.var(axis=(0, 1, 2)), rtol=0.02)


def test_momentum_and_dropout_are_what_they_were_after_training(fitted: Fitted) -> None:
    fresh = build_tiny(2)
    for name, attribute in (("norm", "momentum"), ("dropout", "rate")):
        found = getattr(fitted.model.get_layer(name), attribute)
        assert found == getattr(fresh.get_layer(name), attribute)
        assert found > 0


def test_momentum_and_dropout_are_what_they_were_when_the_estimation_fails() -> None:
    model = build_tiny(2)
    wrong_size = np.zeros((4, 2 * SPEC.height, SPEC.width, 3), np.uint8)
    with pytest.raises(ValueError, match="incompatible"):
        fitting._reestimate(model, wrong_size)
    assert model.get_layer("norm").momentum == build_tiny(2).get_layer("norm").momentum
    assert model.get_layer("dropout").rate == build_tiny(2).get_layer("dropout").rate


def _without_averages(labels: int) -> Any:
    keras = import_keras()
    model = keras.Sequential(
        [
            keras.Input(SPEC.shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(labels, activation="sigmoid"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_training_works_when_the_model_has_no_averages() -> None:
    fitted = _fit(make_preset(_without_averages))
    assert _validation_loss(fitted.model) == pytest.approx(
        fitted.history[fitted.kept_epoch - 1].validation_loss
    )


def _diverging(labels: int) -> Any:
    """Without a step, its answers are sound; after one, they are not numbers."""
    keras = import_keras()
    model = _without_averages(labels)
    model.compile(
        keras.optimizers.SGD(float("inf")), "categorical_crossentropy", metrics=["accuracy"]
    )
    return model


@pytest.mark.parametrize(("batch_size", "kind"), [(32, "training"), (130, "validation")])
def test_loss_that_is_no_number_is_refused(batch_size: int, kind: str) -> None:
    options = dataclasses.replace(OPTIONS, batch_size=batch_size)
    with pytest.raises(TrainingError, match=f"The {kind} loss became nan in epoch 1"):
        _fit(make_preset(_diverging), options)
