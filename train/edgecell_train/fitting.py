"""The training loop: Keras's ``fit``, with progress, and averages that do not lag."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import TrainingError
from edgecell_train.presets import Preset
from edgecell_train.presets.base import KerasModel

_REESTIMATION_IMAGES: Final = 2048
_REESTIMATION_BATCH: Final = 128


@dataclass(frozen=True)
class LabelledPixels:
    """Images of one part of the split.

    Attributes:
        pixels: uint8 (n, height, width, channels), 0-255.
        truth: int (n,), index of each image's label.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; losses in nats, accuracies as fractions."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class FitOptions:
    """How long and how to train.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step.
        seed: Of the weights, the order of the images and the dropout.
    """

    epochs: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        model: The Keras model.
        history: One record an epoch.
        kept_epoch: The epoch whose weights it has: the one with the lowest validation loss.
    """

    model: KerasModel
    history: tuple[EpochRecord, ...]
    kept_epoch: int


Progress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and a few words on how training goes."""


def fit(
    preset: Preset,
    options: FitOptions,
    training: LabelledPixels,
    validation: LabelledPixels,
    progress: Progress,
) -> Fitted:
    """Trains a preset.

    BatchNormalization's running averages (momentum 0.99) lag behind the weights, and after few
    steps a validation with them is noise. They are estimated anew over training images at the end
    of every epoch ("precise BN", Wu and Johnson 2021, "Rethinking Batch in BatchNorm"). The weights
    of the epoch with the lowest validation loss are kept.

    Raises:
        TrainingError: The loss became something that is not a number.
    """
    keras = import_keras()
    keras.utils.set_random_seed(options.seed)
    labels = int(max(training.truth.max(), validation.truth.max())) + 1
    model = preset.build(labels)
    targets = np.eye(labels, dtype=np.float32)
    epochs = _Epochs(model, training, validation, targets[validation.truth])
    steps = -(-len(training.truth) // options.batch_size)
    model.fit(
        training.pixels,
        targets[training.truth],
        batch_size=options.batch_size,
        epochs=options.epochs,
        verbose=0,
        callbacks=[_callback(keras, epochs, (steps, options.epochs), progress)],
    )
    return Fitted(model, tuple(epochs.records), epochs.restore_best())


class _Epochs:
    """What happens at the end of every epoch: averages, validation, record."""

    def __init__(
        self,
        model: KerasModel,
        training: LabelledPixels,
        validation: LabelledPixels,
        targets: NDArray[np.float32],
    ) -> None:
        self.records: list[EpochRecord] = []
        self._model = model
        self._training = training
        self._validation = validation
        self._targets = targets
        self._best_weights: list[NDArray[np.float32]] = []
        self._best = 0

    def end(self, loss: float, accuracy: float) -> None:
        """Estimates the averages anew, validates, and remembers the weights if they are the best.

        Raises:
            TrainingError: The loss is not a number.
        """
        self._require_number("training", loss)
        _reestimate(self._model, self._training.pixels)
        record = EpochRecord(len(self.records) + 1, loss, accuracy, *self._validate())
        # The last step of an epoch can spoil the weights after the loss was taken.
        self._require_number("validation", record.validation_loss)
        self.records.append(record)
        if self._best == 0 or record.validation_loss < self.records[self._best - 1].validation_loss:
            self._best, self._best_weights = record.epoch, self._model.get_weights()

    def restore_best(self) -> int:
        """Puts the best epoch's weights back, and says which epoch that was."""
        self._model.set_weights(self._best_weights)
        return self._best

    def _require_number(self, kind: str, loss: float) -> None:
        if not np.isfinite(loss):
            raise TrainingError(
                f"The {kind} loss became {loss} in epoch {len(self.records) + 1}; the training "
                "diverged. Try another seed, or a larger batch."
            )

    def _validate(self) -> tuple[float, float]:
        result = self._model.evaluate(
            self._validation.pixels, self._targets, batch_size=256, verbose=0, return_dict=True
        )
        return float(result["loss"]), float(result["accuracy"])


def _callback(keras: Any, epochs: _Epochs, size: tuple[int, int], progress: Progress) -> Any:
    steps, epoch_count = size

    class Report(keras.callbacks.Callback):  # type: ignore[misc]
        """Passes Keras's steps on."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            done = len(epochs.records)
            words = f"epoch {done + 1}/{epoch_count}, accuracy {logs['accuracy']:.3f}"
            if done:
                words += f", validation {epochs.records[-1].validation_accuracy:.3f}"
            progress(done * steps + batch + 1, epoch_count * steps, words)

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:  # noqa: ARG002
            epochs.end(logs["loss"], logs["accuracy"])

    return Report()


def _reestimate(model: KerasModel, pixels: NDArray[np.uint8]) -> None:
    """Estimates BatchNormalization's averages anew, where the model has any."""
    keras = import_keras()
    layers = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    if not layers:
        return
    dropouts = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    momenta, rates = [x.momentum for x in layers], [x.rate for x in dropouts]
    chosen = np.random.default_rng(0).permutation(len(pixels))[:_REESTIMATION_IMAGES]
    try:
        for layer in dropouts:
            layer.rate = 0.0  # the averages are for inference, which drops nothing
        for start in range(0, len(chosen), _REESTIMATION_BATCH):
            batch = pixels[chosen[start : start + _REESTIMATION_BATCH]].astype(np.float32)
            for layer in layers:
                # The mean over all images so far; the last batch may be a small one.
                layer.momentum = start / (start + len(batch))
            model(batch, training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate
