"""What a training remembers of its epochs, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; losses in nats, accuracies as fractions.

    Attributes:
        epoch: From 1 on.
        loss: What was minimised, the mean over the epoch's steps: of augmented images, with
            dropout, smoothed labels, class weights and penalties.
        accuracy: On the same images, while the weights changed.
        validation_loss: Cross-entropy of the plain model's answers on the validation images,
            without penalties or smoothed labels.
        validation_accuracy: Of the same answers.
        validation_loss_before: The validation loss with BatchNormalization's averages as the steps
            left them; None where they were not estimated anew, or this was not measured.
        validation_accuracy_before: The validation accuracy with those.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_loss_before: float | None = None
    validation_accuracy_before: float | None = None


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The first epoch with the lowest validation loss; 0 where there is none."""
    if not history:
        return 0
    return min(history, key=lambda record: record.validation_loss).epoch


def has_stalled(history: Sequence[EpochRecord], patience: int) -> bool:
    """Whether ``patience`` epochs brought no lower validation loss; never where that is 0."""
    return 0 < patience <= len(history) - best_epoch(history)


def plateaus(history: Sequence[EpochRecord], patience: int) -> int:
    """How often ``patience`` epochs in a row brought no lower validation loss.

    Counting starts anew after each time, so that a rate that has just fallen gets its chance.
    """
    lowest, waited, found = float("inf"), 0, 0
    for record in history:
        if record.validation_loss < lowest:
            lowest, waited = record.validation_loss, 0
            continue
        waited += 1
        if waited >= patience:
            found, waited = found + 1, 0
    return found
