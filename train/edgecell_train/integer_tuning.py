"""Quantisation-aware fine-tuning: a trained net learns to answer as the integers that it becomes.

The kept net is prepared as an export prepares it - BatchNormalization folded, in the form for
integers - and trained on for a few epochs while its kernels and what its layers hand on are rounded
to 8 bits. After every epoch the ranges are set by the rule of exports, on images drawn as theirs
are, so that the validation is near that of the file that an export would write. What is left is a
plain net in floats whose kernels lie on the integers' steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecell_export.keras_build import layer_names
from edgecell_export.keras_graph import read_graph
from edgecell_export.keras_layers import build_trainable
from edgecell_export.known_images import CALIBRATION_COUNT, LIT_OTHERWISE, in_other_light
from edgecell_export.prepare import Graph, for_integers, prepare
from edgecell_runtime.errors import ConversionError
from edgecell_runtime.heads import Head
from edgecell_train import stepping
from edgecell_train.checkpoints import Unfinished
from edgecell_train.config import Optimizer, Regularization, Schedule, TrainConfig
from edgecell_train.fake_quantization import FakeQuantized
from edgecell_train.feeding import LabelledPixels
from edgecell_train.fitting import Fitted, Loop, Progress, Subject
from edgecell_train.history import EpochRecord
from edgecell_train.labelling import Labelling
from edgecell_train.presets.base import KerasModel
from edgecell_train.stepping import Report, Trainer

OPTIMIZER: Final = Optimizer("adam")
"""What moves the weights, at a rate of its own."""


@dataclass(frozen=True)
class Parts:
    """What a net is fine-tuned on.

    Attributes:
        training: Images to train on.
        validation: Images to choose by; None where the last epoch is kept.
    """

    training: LabelledPixels
    validation: LabelledPixels | None


def require_tunable(subject: Subject) -> None:
    """Finds out before a training whether its net can be prepared for integers.

    Raises:
        PreparationError: It cannot.
    """
    _prepared(subject.build(), subject.labelling.head)


def tune(
    subject: Subject,
    fitted: Fitted,
    parts: Parts,
    progress: Progress,
    unfinished: Unfinished | None = None,
) -> Fitted:
    """Fine-tunes a fitted net as 8-bit integers.

    Args:
        subject: What was trained, and how; ``config.quantization`` says how it is tuned.
        fitted: What it came to.
        parts: The images.
        progress: Follows the steps.
        unfinished: Where the state is kept, and what was kept there goes on; None keeps none.

    Returns:
        The net without BatchNormalization; or what was fitted, where the best is to be kept and the
        validation loss, the higher one of floats and integers, did not fall. The epochs stand
        behind the others in either case.

    Raises:
        PreparationError: The net cannot be prepared for integers.
        TrainingError: The loss became something that is not a number.
        RunError: The state is damaged, or another model's.
        StorageError: The state could not be written.
    """
    config, head = _config(subject.config), subject.labelling.head
    graph, pixels = _prepared(fitted.model, head), _calibration(parts.training)
    unrounded = for_integers(graph, pixels, float_layers=layer_names(graph))
    net = _integers(unrounded, head, pixels)
    trainer = _IntegerTrainer(net, pixels, subject, parts.training)
    loop = Loop(trainer, config, parts.training, parts.validation, "fine-tuning")
    loop.run(progress, unfinished)
    net.model.set_weights(loop.kept)
    net.round_kernels()
    first = len(fitted.history)
    history = *fitted.history, *(replace(e, epoch=first + e.epoch) for e in loop.history)
    tuned = Fitted(net.plain, history, first + loop.kept_epoch, _epochs_note(history[first:]))
    if parts.validation is None:
        return tuned
    untuned = _integers(for_integers(graph, pixels), head, pixels)
    before = _losses(fitted.model, untuned, subject.labelling, parts.validation)
    after = _losses(net.plain, net, subject.labelling, parts.validation)
    note = f"{tuned.note} {_losses_note(before, after)}"
    if max(after) < max(before):
        return replace(tuned, note=note)
    note += " The net was left as it was before."
    return Fitted(fitted.model, history, fitted.kept_epoch, note)


class _Losses(NamedTuple):
    """Validation losses of a net: as it is, and as the integers that it becomes."""

    floats: float
    integers: float


def _losses(
    model: KerasModel, integers: FakeQuantized, labelling: Labelling, part: LabelledPixels
) -> _Losses:
    losses = [stepping.validate(x, labelling, part)[0] for x in (model, integers.model)]
    return _Losses(*losses)


def _epochs_note(epochs: Sequence[EpochRecord]) -> str:
    first, last = epochs[0].epoch, epochs[-1].epoch
    numbers = f"Epoch {first} is" if first == last else f"Epochs {first} to {last} are"
    return f"{numbers} quantisation-aware fine-tuning."


def _losses_note(before: _Losses, after: _Losses) -> str:
    return (
        f"The validation loss of the 8-bit integers went from {before.integers:.4f} to "
        f"{after.integers:.4f}, that of the floats from {before.floats:.4f} to {after.floats:.4f}."
    )


class _IntegerTrainer(Trainer):
    """Trains a net that computes as integers, whose ranges follow the weights."""

    def __init__(
        self,
        net: FakeQuantized,
        pixels: NDArray[np.uint8],
        subject: Subject,
        training: LabelledPixels,
    ) -> None:
        config = _config(subject.config)
        super().__init__(net.model, subject.labelling, config, training, subject.teachers)
        self._net, self._pixels = net, pixels

    def train_epoch(self, epoch: int, report: Report) -> tuple[float, float]:
        """Trains on every image once, and sets the ranges that an export would set then."""
        loss, accuracy = super().train_epoch(epoch, report)
        try:
            self._net.set_ranges(self._pixels)
        except ConversionError:  # what layers give is not finite: the training diverged
            loss = float("nan")
        return loss, accuracy


def _config(config: TrainConfig) -> TrainConfig:
    """How the net is fine-tuned: as it was fitted, but gently, and without what held it back.

    BatchNormalization is folded into the kernels, so that their size counts and is not to shrink.
    """
    return replace(
        config,
        epochs=config.quantization.epochs,
        optimizer=replace(OPTIMIZER, learning_rate=config.quantization.learning_rate),
        schedule=Schedule("cosine"),
        regularization=Regularization(label_smoothing=config.regularization.label_smoothing),
        stopping=replace(config.stopping, patience=0),
    )


def _prepared(model: KerasModel, head: Head) -> Graph:
    return prepare(read_graph(model), head)


def _integers(graph: Graph, head: Head, pixels: NDArray[np.uint8]) -> FakeQuantized:
    net = FakeQuantized(build_trainable(graph, head))
    net.set_ranges(pixels)
    return net


def _calibration(training: LabelledPixels) -> NDArray[np.uint8]:
    """Images to set ranges by, as many and as lit as an export takes."""
    order = np.random.default_rng(0).permutation(len(training))
    chosen = training.take(order[:CALIBRATION_COUNT])
    return np.concatenate([chosen, in_other_light(chosen[:LIT_OTHERWISE])])
