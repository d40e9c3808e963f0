"""What a training remembers of its epochs, and what follows from it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from edgecell_runtime.errors import RunError


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; losses in nats, accuracies as fractions.

    Attributes:
        epoch: From 1 on.
        loss: What was minimised, the mean over the epoch's steps: of augmented images, with
            dropout, smoothed labels, class weights and penalties.
        accuracy: On the same images, while the weights changed.
        validation_loss: Cross-entropy of the plain model's answers on the validation images,
            without penalties or smoothed labels; None where there are no validation images.
        validation_accuracy: Of the same answers; None likewise.
        validation_loss_before: The validation loss with BatchNormalization's averages as the steps
            left them; None where they were not estimated anew, or this was not measured.
        validation_accuracy_before: The validation accuracy with those.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_loss_before: float | None = None
    validation_accuracy_before: float | None = None


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The first epoch with the lowest validation loss; 0 where none was validated."""
    losses = [(r.validation_loss, r.epoch) for r in history if r.validation_loss is not None]
    return min(losses)[1] if losses else 0


def has_stalled(history: Sequence[EpochRecord], patience: int) -> bool:
    """Whether ``patience`` epochs brought no lower validation loss; never where that is 0."""
    return 0 < patience <= len(history) - best_epoch(history)


def plateaus(history: Sequence[EpochRecord], patience: int) -> int:
    """How often ``patience`` epochs in a row brought no lower validation loss.

    Counting starts anew after each time, so that a rate that has just fallen gets its chance.
    """
    lowest, waited, found = float("inf"), 0, 0
    for record in history:
        if record.validation_loss is None:
            continue
        if record.validation_loss < lowest:
            lowest, waited = record.validation_loss, 0
            continue
        waited += 1
        if waited >= patience:
            found, waited = found + 1, 0
    return found


def averages_note(kept: EpochRecord) -> str:
    """What estimating BatchNormalization's averages anew did to the kept epoch; may be empty.

    Args:
        kept: The epoch whose weights were kept.
    """
    loss, accuracy = kept.validation_loss_before, kept.validation_accuracy_before
    if loss is None or accuracy is None:
        return ""
    assert kept.validation_loss is not None
    assert kept.validation_accuracy is not None
    note = (
        "BatchNormalization's averages were estimated anew at the end of every epoch (Wu and "
        f"Johnson 2021). In the kept epoch, {kept.epoch}, that changed the validation loss from "
        f"{loss:.3f} to {kept.validation_loss:.3f}, and the accuracy from {accuracy:.2%} to "
        f"{kept.validation_accuracy:.2%}."
    )
    worse = []
    if round(kept.validation_loss, 3) > round(loss, 3):
        worse.append("loss")
    if round(kept.validation_accuracy, 4) < round(accuracy, 4):
        worse.append("accuracy")
    if not worse:
        return note
    return (
        f"{note} There it made the {' and the '.join(worse)} worse; "
        "--set reestimate_averages=false trains without it."
    )


def read_history(path: Path) -> tuple[EpochRecord, ...]:
    """Reads the history that a run keeps; empty where the file is not there.

    Args:
        path: ``history.csv`` of the run. The columns ``validation_...`` may be empty, where there
            were no validation images; ``..._before`` may be missing, as earlier versions did not
            write them.

    Raises:
        RunError: It cannot be read, or is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(_epoch(row) for row in csv.DictReader(file))
    except FileNotFoundError:
        return ()
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read as a history: {error}. Restore the run, or train it again."
        ) from error


def _epoch(row: Mapping[str, str]) -> EpochRecord:
    optional = {
        field.name: float(row[field.name])
        for field in fields(EpochRecord)
        if field.name.startswith("validation_") and row.get(field.name)
    }
    return EpochRecord(int(row["epoch"]), float(row["loss"]), float(row["accuracy"]), **optional)
