"""Plots of trainings: loss and accuracy by epoch, of one run and of several."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final

from edgecell_train.drawing import (
    CHANCE,
    CHOSEN,
    RUNS,
    TRAINING,
    VALIDATION,
    Axes,
    panels,
    png,
    shared_legend,
    titled,
)
from edgecell_train.history import EpochRecord

_FEW_EPOCHS: Final = 30
"""So many points are drawn as points; more would hide the curve."""

_STEEP: Final = 20.0
"""Where the highest loss is so many times the lowest, the lower ones need a logarithmic axis."""

_LEGEND_ROW: Final = 0.2
"""Inches."""

AFTER: Final = "validation, averages estimated anew"
BEFORE: Final = "validation, averages as the steps left them"


def history(records: Sequence[EpochRecord], kept_epoch: int = 0) -> bytes:
    """Loss and accuracy over the epochs, training and, where there is one, validation, as PNG.

    Where the validation was also measured with BatchNormalization's averages as the steps left
    them, it is shown dashed: what training would have looked like without the re-estimation.

    Args:
        records: One an epoch.
        kept_epoch: The epoch whose weights were kept, which is marked; 0 marks none.
    """
    figure, pair = panels(2, height=4.0)
    both = has_before(records)
    curves = (
        ("", "training", TRAINING, "-"),
        ("validation_", AFTER if both else "validation", VALIDATION, "-"),
        *((("validation_before", BEFORE, CHANCE, "--"),) if both else ()),
    )
    for axes, name in zip(pair, ("loss", "accuracy"), strict=True):
        for prefix, label, color, line in curves:
            values = _values(records, name, prefix)
            if not all(map(math.isnan, values)):
                look = {"color": color, "linestyle": line, "label": label}
                _curve(axes, records, values, look)
        if kept_epoch:
            axes.axvline(kept_epoch, color=CHOSEN, linewidth=1, linestyle=":", label="kept epoch")
    _worded(pair, "Loss", "Accuracy")
    shared_legend(figure, pair[0], columns=2)
    return png(figure)


def validations(histories: Mapping[str, Sequence[EpochRecord]]) -> bytes:
    """The validation loss and accuracy of several runs over the epochs, as PNG.

    Where a run's validation was also measured with BatchNormalization's averages as the steps left
    them, that is shown dashed in the run's colour.

    Args:
        histories: By the run's name.
    """
    rows = sum(1 + has_before(records) for records in histories.values())
    figure, pair = panels(2, height=3.8 + _LEGEND_ROW * rows)
    for (name, records), color in zip(histories.items(), cycle(RUNS), strict=False):
        both = has_before(records)
        shown = (("validation_", f"{name}: {AFTER}" if both else name, "-"),) + (
            (("validation_before", f"{name}: {BEFORE}", "--"),) if both else ()
        )
        for prefix, label, line in shown:
            look = {"color": color, "linestyle": line, "label": label}
            for axes, measured in zip(pair, ("loss", "accuracy"), strict=True):
                _curve(axes, records, _values(records, measured, prefix), look)
    _worded(pair, "Validation loss", "Validation accuracy")
    shared_legend(figure, pair[0], columns=1)
    return png(figure)


def has_before(records: Sequence[EpochRecord]) -> bool:
    """Whether the validation was also measured before the averages were estimated anew."""
    return any(record.validation_loss_before is not None for record in records)


def _values(records: Sequence[EpochRecord], name: str, prefix: str) -> list[float]:
    """One value an epoch, not a number where it was not measured."""
    attribute = f"{prefix}{name}"
    if prefix == "validation_before":
        attribute = f"validation_{name}_before"
    values = [getattr(record, attribute) for record in records]
    return [float("nan") if value is None else value for value in values]


def _curve(
    axes: Axes, records: Sequence[EpochRecord], values: Sequence[float], look: Mapping[str, str]
) -> None:
    epochs = [record.epoch for record in records]
    dashed = look["linestyle"] == "--" and len(records) > 1
    marker = "o" if len(records) < _FEW_EPOCHS and not dashed else ""
    # A dashed curve lets the one below it be seen, such as that of a run without the cure.
    order = 3 if dashed else 2
    axes.plot(epochs, values, marker=marker, markersize=4, zorder=order, **look)


def _worded(pair: Sequence[Axes], loss: str, accuracy: str) -> None:
    left, right = pair
    low, high = left.dataLim.intervaly
    steep = low > 0 and high > _STEEP * low
    if steep:
        left.set_yscale("log")
    titled(left, loss, "Epoch", "nats an image" + (", logarithmic" if steep else ""))
    titled(right, accuracy, "Epoch", "share of images")
    for axes in pair:
        first, last = axes.dataLim.intervalx
        if first == last:
            axes.set_xlim(first - 1, first + 1)  # or there were ticks at parts of an epoch
        axes.xaxis.get_major_locator().set_params(integer=True)
