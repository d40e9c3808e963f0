"""The plot of a training: loss and accuracy by epoch."""

from collections.abc import Sequence

from edgecell_train.drawing import (
    CHANCE,
    CHOSEN,
    TRAINING,
    VALIDATION,
    Axes,
    panels,
    png,
    titled,
)
from edgecell_train.history import EpochRecord


def history(records: Sequence[EpochRecord], kept_epoch: int = 0) -> bytes:
    """Loss and accuracy over the epochs, training and validation, as PNG.

    Where the validation was also measured with BatchNormalization's averages as the steps left
    them, it is shown dashed: what training would have looked like without the re-estimation.

    Args:
        records: One an epoch.
        kept_epoch: The epoch whose weights were kept, which is marked; 0 marks none.
    """
    figure, (left, right) = panels(2)
    _curves(left, records, "loss")
    _curves(right, records, "accuracy")
    titled(left, "Loss", "Epoch", "nats an image")
    titled(right, "Accuracy", "Epoch", "share of images")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        if kept_epoch:
            axes.axvline(kept_epoch, color=CHOSEN, linewidth=1, linestyle=":", label="kept")
        axes.legend(frameon=False, fontsize=9)
    return png(figure)


def _curves(axes: Axes, records: Sequence[EpochRecord], name: str) -> None:
    epochs = [record.epoch for record in records]
    marker = "o" if len(records) < 30 else ""
    curves = (
        (name, TRAINING, "training", "-"),
        (f"validation_{name}", VALIDATION, "validation", "-"),
        (f"validation_{name}_before", CHANCE, "validation, averages as the steps left them", "--"),
    )
    for attribute, color, label, line in curves:
        values = [getattr(record, attribute) for record in records]
        if any(value is not None for value in values):
            known = [float("nan") if value is None else value for value in values]
            axes.plot(epochs, known, line, color=color, marker=marker, markersize=4, label=label)
