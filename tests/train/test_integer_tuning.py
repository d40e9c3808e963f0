"""A net that 8-bit integers ruin is healed by fine-tuning; a run says so, and repeats itself."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.tiny_training import (
    CONFIG,
    SPEC,
    Watcher,
    bright_and_dark,
    make_preset,
    train_tiny,
    write_cells,
)

from edgecell_export.keras_graph import read_graph
from edgecell_export.keras_layers import build_trainable
from edgecell_export.prepare import for_integers, prepare
from edgecell_export.prepare.arrays import round_weights
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import TrainingError, UsageError
from edgecell_runtime.heads import Head
from edgecell_train import feeding
from edgecell_train.checkpoints import Unfinished, find_unfinished
from edgecell_train.config import Quantization, Regularization, Stopping, TrainConfig
from edgecell_train.fake_quantization import FakeQuantized
from edgecell_train.fitting import Fitted, Subject
from edgecell_train.integer_tuning import Parts, tune
from edgecell_train.labelling import Labelling
from edgecell_train.presets import find_preset
from edgecell_train.runs import HISTORY, weights_sha256
from edgecell_train.training import Outcome
from edgecell_train.variables import values_of

TRAINING, VALIDATION = bright_and_dark(130), bright_and_dark(60, seed=1)
LABELLING = Labelling(("Parasitized", "Uninfected"), Head("softmax"))
TUNED = dataclasses.replace(CONFIG, quantization=Quantization(epochs=2))


def build_outlier(shape: tuple[int, ...], labels: int) -> Any:
    """Tells bright from dark by weights a hundredth as large as one that meets nothing but zeros.

    The dense layer's last channel is dead, and its weights set the steps of all others.
    """
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(5, 3, strides=3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(labels, activation="softmax"),
        ]
    )
    kernel = np.zeros((3, 3, 3, 5))
    kernel[..., :4] = np.array([1.0, 0.8, 0.6, 0.4]) * 60 / 27
    dense = np.array([[0.3, -0.3]] * 4 + [[100.0, -100.0]])
    weights = [kernel, np.array([-24, -18, -15, -9, -1.0]), dense, np.zeros(2)]
    model.set_weights(weights)
    logits = np.log(feeding.answers(model, VALIDATION).astype(float))
    centre = np.median(logits[:, 0] - logits[:, 1]) / 2
    model.set_weights([*weights[:3], np.array([-centre, centre])])
    return model


def subject_of(quantization: Quantization, **options: Any) -> Subject:
    config = dataclasses.replace(CONFIG, batch_size=16, quantization=quantization, **options)
    return Subject(make_preset(build_outlier, "softmax"), config, SPEC.shape, LABELLING)


def tuned(subject: Subject, model: Any, *, validated: bool = True) -> Fitted:
    parts = Parts(TRAINING, VALIDATION if validated else None)
    return tune(subject, Fitted(model, (), 0), parts, lambda done, total, words: None)


def accuracy(model: Any) -> float:
    return float((feeding.answers(model, VALIDATION).argmax(axis=1) == VALIDATION.truth).mean())


def integers_of(model: Any) -> Any:
    """The model as an export makes integers of it."""
    graph = prepare(read_graph(model), LABELLING.head)
    net = FakeQuantized(build_trainable(for_integers(graph, TRAINING.pixels), LABELLING.head))
    net.set_ranges(TRAINING.pixels)
    return net.model


def test_net_that_an_outlier_ruins_in_integers_regains_its_labels() -> None:
    subject = subject_of(Quantization(4, 0.01))
    model = subject.build()
    assert accuracy(model) > 0.95
    assert accuracy(integers_of(model)) < 0.8
    fitted = tuned(subject, model)
    assert accuracy(fitted.model) > 0.95
    assert accuracy(integers_of(fitted.model)) > 0.95
    assert "Epochs 1 to 4 are quantisation-aware fine-tuning" in fitted.note


@pytest.mark.parametrize("keep", ["best", "last"])
def test_net_is_left_as_it_was_when_fine_tuning_does_harm(keep: Literal["best", "last"]) -> None:
    subject = subject_of(Quantization(1, 5.0), stopping=Stopping(keep=keep))
    model = subject.build()
    fitted = tuned(subject, model)
    assert fitted.model is model
    assert (fitted.kept_epoch, len(fitted.history)) == (0, 1)
    assert "left as it was" in fitted.note


def test_last_epoch_is_kept_where_there_is_nothing_to_validate_on() -> None:
    subject = subject_of(Quantization(3, 5.0))
    model = subject.build()
    fitted = tuned(subject, model, validated=False)
    assert fitted.model is not model
    assert (fitted.kept_epoch, fitted.kept.validation_loss) == (3, None)
    assert fitted.note == "Epochs 1 to 3 are quantisation-aware fine-tuning."


def test_fine_tuning_that_diverges_says_which_rate_to_lower() -> None:
    subject = subject_of(Quantization(1, 1e38))
    with pytest.raises(TrainingError, match=r"fine-tuning diverged.*quantization\.learning_rate"):
        tuned(subject, subject.build())


def test_penalties_and_dropout_are_left_out_of_fine_tuning() -> None:
    plain = tuned(subject_of(Quantization(4, 0.01)), build_outlier(SPEC.shape, 2))
    held = subject_of(Quantization(4, 0.01), regularization=Regularization(l2=1.0, dropout=0.5))
    assert weights_sha256(tuned(held, build_outlier(SPEC.shape, 2)).model) == weights_sha256(
        plain.model
    )


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def last() -> TrainConfig:
    """Keeps the last epoch, so that the fine-tuned net is what the run holds."""
    stopping = dataclasses.replace(TUNED.stopping, keep="last")
    return dataclasses.replace(TUNED, stopping=stopping)


@pytest.fixture(scope="module")
def outcome(cells: Path, last: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train_tiny(cells, tmp_path_factory.mktemp("runs"), config=last)


def test_run_holds_a_plain_model_of_keras_layers_on_the_integers_steps(outcome: Outcome) -> None:
    model = outcome.run.source_model().model  # opens nothing but Keras's own classes
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {"InputLayer", "Rescaling", "Conv2D", "Flatten", "Dense", "Activation"}
    for kernel in values_of(x.kernel for x in model.layers if hasattr(x, "kernel")):
        rounded = round_weights(kernel.astype(float), tuple(range(kernel.ndim - 1)))
        np.testing.assert_allclose(rounded, kernel, atol=1e-6)


def test_run_shows_the_epochs_of_fine_tuning_behind_the_others(outcome: Outcome) -> None:
    record = outcome.run.record
    history = (outcome.run.folder / HISTORY).read_text().splitlines()
    assert [line.split(",")[0] for line in history[1:]] == ["1", "2", "3", "4"]
    assert record.kept_epoch == 4
    assert any("Epochs 3 to 4 are quantisation-aware" in note for note in record.training_notes)
    assert record.configuration["quantization.epochs"] == 2


def test_same_configuration_gives_the_same_weights(
    outcome: Outcome, cells: Path, last: TrainConfig, tmp_path: Path
) -> None:
    again = train_tiny(cells, tmp_path, config=last).run.record
    assert again.weights_sha256 == outcome.run.record.weights_sha256
    untuned = dataclasses.replace(last, quantization=Quantization())
    other = train_tiny(cells, tmp_path, config=untuned).run.record
    assert other.weights_sha256 != again.weights_sha256


class InterruptAt(Watcher):
    """Interrupts a stage at a step."""

    def __init__(self, stage: str, step: int) -> None:
        super().__init__()
        self._at = stage, step

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        tell = super().stage(name)

        def told(done: int, total: int, words: str) -> None:
            tell(done, total, words)
            if (name, done) == self._at:
                raise KeyboardInterrupt

        return told


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["after_an_epoch", "at_its_beginning"])
def test_interrupted_fine_tuning_goes_on_to_the_same_end(
    every_s: float,
    outcome: Outcome,
    cells: Path,
    last: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Unfinished, "is_due", lambda self: every_s == 0)
    steps = -(-int((outcome.parts == "training").sum()) // last.batch_size)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(cells, tmp_path, config=last, watcher=InterruptAt("Fine-tuning", steps + 2))
    left = find_unfinished("latest", tmp_path)
    assert left.epochs == (3 if every_s == 0 else 2)
    watcher = Watcher()
    run = train_tiny(cells, tmp_path, config=last, watcher=watcher, unfinished=left).run
    assert watcher.seen["Training"] == [], "what was fitted is not fitted again"
    assert run.record.weights_sha256 == outcome.run.record.weights_sha256
    assert (run.folder / HISTORY).read_text() == (outcome.run.folder / HISTORY).read_text()


def test_volumes_are_refused_before_they_are_read(cells: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    with pytest.raises(UsageError, match=r"cnn-3d takes volumes.*quantization\.epochs"):
        train_tiny(cells, tmp_path, preset=find_preset("cnn-3d"), config=TUNED, watcher=watcher)
    assert watcher.seen == {}
