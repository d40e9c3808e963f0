"""The training loop: epochs of Keras's ``fit``, averages that do not lag, and the best weights."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import RunError, TrainingError
from edgecell_train import averages, stepping
from edgecell_train.checkpoints import Stage, TrainingState, Unfinished
from edgecell_train.config import TrainConfig
from edgecell_train.distilling import Teacher
from edgecell_train.feeding import LabelledPixels
from edgecell_train.history import EpochRecord, best_epoch, has_stalled, plateaus
from edgecell_train.labelling import Labelling
from edgecell_train.presets.base import KerasModel, Preset
from edgecell_train.stepping import Trainer
from edgecell_train.variables import values_of

__all__ = ["EpochRecord", "Fitted", "LabelledPixels", "Loop", "Progress", "Subject", "fit"]

_FEW_IMAGES = 1000
_NEVER = (None, None)
"""Loss and accuracy where they are not measured."""


@dataclass(frozen=True)
class Subject:
    """What is trained, and how.

    Attributes:
        preset: Makes the model.
        config: How to train it.
        shape: Of one image.
        labelling: The labels, and the head.
        teachers: Whose answers it learns beside the labels.
    """

    preset: Preset
    config: TrainConfig
    shape: tuple[int, ...]
    labelling: Labelling
    teachers: tuple[Teacher, ...] = ()

    def build(self) -> KerasModel:
        """The model, with random weights that follow from the seed."""
        import_keras().utils.set_random_seed(self.config.seed)
        return self.preset.build(self.shape, len(self.labelling.labels))


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        model: The Keras model, in float32, without augmentation.
        history: One record an epoch.
        kept_epoch: The epoch whose weights it has; 0 where it has those that it began with.
        note: What there is to say of its fine-tuning; may be empty.
    """

    model: KerasModel
    history: tuple[EpochRecord, ...]
    kept_epoch: int
    note: str = ""

    @property
    def kept(self) -> EpochRecord:
        """The record of the epoch whose weights it has."""
        return self.history[self.kept_epoch - 1]


Progress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and a few words on how training goes."""


def fit(
    subject: Subject,
    training: LabelledPixels,
    validation: LabelledPixels | None,
    progress: Progress,
    unfinished: Unfinished | None = None,
) -> Fitted:
    """Trains a preset.

    At the end of every epoch BatchNormalization's averages are estimated anew, unless the
    configuration says otherwise, the model is validated, and its state is kept in ``unfinished``.

    Args:
        subject: What to train, and how.
        training: Images to train on.
        validation: Images to choose the best epoch on; None where the last one is kept.
        progress: Follows the steps.
        unfinished: Where the state is kept, and what was kept there goes on; None keeps none.

    Raises:
        TrainingError: The loss became something that is not a number.
        RunError: The state is damaged, or another model's.
        StorageError: The state could not be written.
    """
    config = subject.config
    if config.deterministic:
        stepping.be_deterministic()
    with stepping.mixed_precision(config.mixed_precision):
        trainer = Trainer(subject.build(), subject.labelling, config, training, subject.teachers)
    loop = Loop(trainer, config, training, validation)
    loop.run(progress, unfinished)
    if unfinished is not None and config.quantization.epochs:
        unfinished.save(loop.state())  # what the fine-tuning begins with
    return Fitted(_plain(subject, loop.kept), tuple(loop.history), loop.kept_epoch)


def _plain(subject: Subject, weights: list[NDArray[np.generic]]) -> KerasModel:
    """The model as it is built in float32, without penalties or changed dropout."""
    model = subject.build()
    model.set_weights(weights)
    return model


@dataclass
class Loop:
    """The epochs of a training.

    Attributes:
        trainer: What is trained.
        config: How.
        training: Images to train on.
        validation: Images to choose the best epoch on; None where the last one is kept.
        stage: Under whose name the state is kept.
        history: The epochs so far.
        kept: The weights of the epoch that would be kept if training ended here.
    """

    trainer: Trainer
    config: TrainConfig
    training: LabelledPixels
    validation: LabelledPixels | None
    stage: Stage = "fitting"
    history: list[EpochRecord] = field(default_factory=list)
    kept: list[NDArray[np.generic]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reestimates = self.config.reestimate_averages and averages.has_averages(
            self.trainer.model
        )
        self._keeps_best = self.config.stopping.keep == "best" and self.validation is not None

    @property
    def is_over(self) -> bool:
        """Whether all epochs were trained, or it was stopped early."""
        return len(self.history) >= self.config.epochs or has_stalled(
            self.history, self.config.stopping.patience
        )

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept, of those so far."""
        return best_epoch(self.history) if self._keeps_best else len(self.history)

    def run(self, progress: Progress, unfinished: Unfinished | None) -> None:
        """Trains to the end, from what was kept if anything was.

        Args:
            progress: Follows the steps.
            unfinished: Where the state is kept; None keeps none.

        Raises:
            TrainingError: The loss became something that is not a number.
            RunError: The state is damaged, or another model's.
            StorageError: The state could not be written.
        """
        if unfinished is not None:
            self.resume(unfinished)
        while not self.is_over:
            self.run_epoch(progress)
            if unfinished is not None and unfinished.is_due():
                unfinished.save(self.state(), self.stage)

    def run_epoch(self, progress: Progress) -> None:
        """Trains for an epoch, estimates the averages anew, validates.

        Raises:
            TrainingError: The loss is not a number.
        """
        epoch = len(self.history) + 1
        report = functools.partial(self._report, progress, epoch)
        loss, accuracy = self.trainer.train_epoch(epoch, report)
        self._require_finite("training loss", loss)
        # The last step of an epoch can spoil the weights after the loss was taken.
        self._require_finite("largest weight", self.trainer.largest_weight())
        left = averages.current(self.trainer.model)
        before = self._validated() if self._reestimates and self._validation_is_cheap else _NEVER
        if self._reestimates:
            averages.reestimate(self.trainer.model, self.training)
        after = self._validated()
        if after[0] is not None:
            self._require_finite("validation loss", after[0])
        if before[0] is not None and not np.isfinite(before[0]):
            before = _NEVER
        self.history.append(EpochRecord(epoch, loss, accuracy, *after, *before))
        if self.kept_epoch == epoch:
            self.kept = values_of(self.trainer.model.weights)
        # Training does not use the averages, and without the cure they would have gone on lagging.
        averages.put_back(self.trainer.model, left)
        self._lower_rate()

    def state(self) -> TrainingState:
        """All that another process needs to go on."""
        weights = values_of(self.trainer.model.weights)
        return TrainingState(
            tuple(self.history), weights, self.kept, self.trainer.optimizer_state()
        )

    def resume(self, unfinished: Unfinished) -> None:
        """Goes on from what was kept, if anything was.

        Raises:
            RunError: It is damaged, or another model's.
        """
        state = unfinished.load(self.stage)
        if state is None:
            return
        try:
            self.trainer.restore(state.weights, state.optimizer)
        except ValueError as error:
            raise RunError(
                f"{unfinished.folder} holds the state of another model: {error}. Remove it and "
                "train again."
            ) from error
        self.history, self.kept = list(state.history), state.kept

    def _validated(self) -> tuple[float, float] | tuple[None, None]:
        return _NEVER if self.validation is None else self.trainer.validate(self.validation)

    @property
    def _validation_is_cheap(self) -> bool:
        if self.validation is None:
            return False
        # A step costs about three answers: a fifth of the images is less than a tenth of an epoch.
        return len(self.validation) * 5 <= len(self.training) or len(self.training) <= _FEW_IMAGES

    def _lower_rate(self) -> None:
        schedule = self.config.schedule
        if schedule.kind == "plateau":
            times = plateaus(self.history, schedule.patience)
            rate = self.config.optimizer.learning_rate * schedule.factor**times
            self.trainer.optimizer.learning_rate = rate

    def _report(self, progress: Progress, epoch: int, steps: int, accuracy: float) -> None:
        words = f"epoch {epoch}/{self.config.epochs}, accuracy {accuracy:.3f}"
        if self.history and self.history[-1].validation_accuracy is not None:
            words += f", validation {self.history[-1].validation_accuracy:.3f}"
        done = (epoch - 1) * self.trainer.steps + steps
        progress(done, self.config.epochs * self.trainer.steps, words)

    def _require_finite(self, what: str, value: float) -> None:
        if not np.isfinite(value):
            fits, rate = self.stage == "fitting", self.config.optimizer.learning_rate
            raise TrainingError(
                f"The {what} became {value} in epoch {len(self.history) + 1}; the "
                f"{'training' if fits else 'fine-tuning'} diverged. Try a lower learning rate, "
                f"such as --set {'optimizer' if fits else 'quantization'}.learning_rate="
                f"{rate / 2:g}, or a larger batch."
            )
