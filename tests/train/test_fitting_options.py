"""What the options of a training do to it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_training import CONFIG, LABELLING, SPEC, TINY, bright_and_dark, make_preset

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from edgecell_train import augmentation, feeding, stepping
from edgecell_train.config import (
    Augmentation,
    Optimizer,
    Regularization,
    Schedule,
    Stopping,
    TrainConfig,
)
from edgecell_train.fitting import Fitted, LabelledPixels, Subject, fit
from edgecell_train.labelling import Labelling
from edgecell_train.presets import Preset
from edgecell_train.runs import weights_sha256
from edgecell_train.stepping import Trainer

TRAINING, VALIDATION = bright_and_dark(130), bright_and_dark(60, seed=1)


def _fit(
    config: TrainConfig = CONFIG,
    preset: Preset = TINY,
    labelling: Labelling = LABELLING,
    training: LabelledPixels = TRAINING,
) -> Fitted:
    subject = Subject(preset, config, SPEC.shape, labelling)
    return fit(subject, training, VALIDATION, lambda done, total, words: None)


def _changed(**options: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, **options)


def _build_single(shape: tuple[int, ...], labels: int) -> Any:
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(6),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module")
def plain() -> Fitted:
    return _fit()


@pytest.mark.parametrize("label", [0, 1])
def test_single_output_learns_the_probability_of_its_label(label: int) -> None:
    labelling = Labelling(LABELLING.labels, Head("sigmoid", LABELLING.labels[label]))
    config = _changed(optimizer=Optimizer("adam", 0.1), epochs=8)
    fitted = _fit(config, make_preset(_build_single, "sigmoid"), labelling)
    answers = fitted.model.predict(VALIDATION.pixels, verbose=0)[:, 0]
    of_label = VALIDATION.truth == label
    assert answers[of_label].mean() > answers[~of_label].mean() + 0.05
    assert fitted.model.output_shape == (None, 1)
    assert fitted.kept.validation_accuracy == np.mean(
        (answers > 0.5) == (VALIDATION.truth == label)
    )


def test_images_in_a_memory_map_and_among_others_train_alike(plain: Fitted, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = rng.permutation(200)[:130]
    whole = rng.integers(0, 256, (200, *SPEC.shape)).astype(np.uint8)
    whole[rows] = TRAINING.pixels
    np.save(tmp_path / "pixels.npy", whole)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    fitted = _fit(training=LabelledPixels(mapped, TRAINING.truth, rows))
    assert weights_sha256(fitted.model) == weights_sha256(plain.model)


def test_images_on_the_device_train_like_images_in_batches(
    plain: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "keeps_images_on_device", lambda part: True)
    fitted = _fit()
    for one, other in zip(fitted.model.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert len(fitted.model.get_weights()) == len(plain.model.get_weights()), "no images among them"


def test_images_are_kept_on_a_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = import_keras().distribution
    monkeypatch.setattr(devices, "list_devices", lambda kind: ["gpu:0"] if kind == "gpu" else [])
    assert feeding.keeps_images_on_device(TRAINING)
    monkeypatch.setattr(feeding, "MAX_RESIDENT_BYTES", TRAINING.nbytes - 1)
    assert not feeding.keeps_images_on_device(TRAINING)
    monkeypatch.undo()
    monkeypatch.setattr(devices, "list_devices", lambda kind: [])
    assert not feeding.keeps_images_on_device(TRAINING)


def test_training_stops_when_it_no_longer_helps_and_keeps_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.8, 0.1])
    monkeypatch.setattr(Trainer, "validate", lambda self, part: (next(losses), 0.5))
    config = _changed(epochs=6, stopping=Stopping(patience=2), reestimate_averages=False)
    fitted = _fit(config)
    assert [record.validation_loss for record in fitted.history] == [0.9, 0.5, 0.6, 0.7]
    assert fitted.kept_epoch == 2


def test_last_weights_are_kept_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {}
    for keep in ("best", "last"):
        losses = iter([0.1, 0.5])
        monkeypatch.setattr(Trainer, "validate", lambda self, part, x=losses: (next(x), 0.5))
        config = _changed(reestimate_averages=False, stopping=Stopping(keep=keep))
        kept[keep] = _fit(config)
    assert (kept["best"].kept_epoch, kept["last"].kept_epoch) == (1, 2)
    assert weights_sha256(kept["best"].model) != weights_sha256(kept["last"].model)


def test_rate_falls_on_a_plateau(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, 0.6, 0.7, 0.8, 0.9])
    rates: list[float] = []
    train_epoch = Trainer.train_epoch

    def watched(self: Trainer, epoch: int, report: Any) -> tuple[float, float]:
        rates.append(float(self.optimizer.learning_rate.numpy()))
        return train_epoch(self, epoch, report)

    monkeypatch.setattr(Trainer, "train_epoch", watched)
    monkeypatch.setattr(Trainer, "validate", lambda self, part: (next(losses), 0.5))
    schedule = Schedule("plateau", factor=0.1, patience=2)
    _fit(_changed(epochs=5, schedule=schedule, reestimate_averages=False))
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4])


def test_balanced_weights_answer_for_the_rare_class() -> None:
    part = bright_and_dark(400, seed=7)
    rare = np.concatenate([np.flatnonzero(part.truth == 0), np.flatnonzero(part.truth == 1)[:12]])
    training = LabelledPixels(part.pixels[rare], part.truth[rare])
    found = {}
    for kind in ("none", "balanced"):
        config = _changed(class_weights=kind, epochs=6, optimizer=Optimizer("adam", 0.05))
        preset = make_preset(_build_single, "sigmoid")
        labelling = Labelling(LABELLING.labels, Head("sigmoid", LABELLING.labels[1]))
        model = _fit(config, preset, labelling, training).model
        found[kind] = float(model.predict(VALIDATION.pixels, verbose=0).mean())
    assert found["none"] < 0.35, "it has learnt how rare they are"
    assert found["balanced"] == pytest.approx(0.5, abs=0.1)


def test_augmentation_changes_training_and_not_the_model_or_the_validation(plain: Fitted) -> None:
    fitted = _fit(_changed(augmentation=Augmentation(brightness=0.3, noise=20.0)))
    assert weights_sha256(fitted.model) != weights_sha256(plain.model)
    assert [x.name for x in fitted.model.layers[1:2]] == ["dropout"]
    assert len(fitted.model.layers) == len(plain.model.layers)
    assert augmentation.layer(Augmentation(), 0) is None


def test_penalty_and_smoothing_raise_the_training_loss_and_not_the_validations() -> None:
    """With a rate of next to nothing the weights are those that the seed gave."""
    still = _changed(epochs=1, optimizer=Optimizer("sgd", 1e-12))
    one = _fit(still).history[0]
    regularization = Regularization(l2=0.5, label_smoothing=0.2)
    other = _fit(dataclasses.replace(still, regularization=regularization)).history[0]
    assert other.loss > one.loss + 0.1
    assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)


def test_mixed_precision_leaves_a_float32_model_and_the_policy_as_it_was(plain: Fitted) -> None:
    keras = import_keras()
    before = keras.mixed_precision.dtype_policy().name
    fitted = _fit(_changed(mixed_precision=True))
    assert keras.mixed_precision.dtype_policy().name == before
    assert {x.compute_dtype for x in fitted.model.layers} == {"float32"}
    assert weights_sha256(fitted.model) != weights_sha256(plain.model), "else nothing was mixed"
    assert fitted.history[-1].loss == pytest.approx(plain.history[-1].loss, rel=0.05)


def test_deterministic_training_asks_for_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in this process: it cannot be taken back."""
    asked: list[str] = []
    monkeypatch.setattr(stepping, "be_deterministic", lambda: asked.append("deterministic"))
    monkeypatch.setattr(Subject, "build", lambda self: asked.append("build") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _fit(_changed(deterministic=True))
    assert asked == ["deterministic", "build"]
    asked.clear()
    with pytest.raises(ZeroDivisionError):
        _fit()
    assert asked == ["build"]


def test_averages_are_left_alone_when_asked(plain: Fitted) -> None:
    fitted = _fit(_changed(reestimate_averages=False))
    assert all(record.validation_loss_before is None for record in fitted.history)
    for one, other in zip(fitted.history, plain.history, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss_before)
        assert one.loss == pytest.approx(other.loss), "the training is the same"
