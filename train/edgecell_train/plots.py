"""Plots as PNG bytes, drawn with matplotlib without a display."""

import io
from collections.abc import Sequence
from typing import Any

from edgecell_train.fitting import EpochRecord

TRAINING, VALIDATION = "#7a4b9a", "#1f8a8a"


def history(records: Sequence[EpochRecord]) -> bytes:
    """Loss and accuracy over the epochs, training and validation."""
    figure, (left, right) = _figure(9.0, 3.4, columns=2)
    epochs = [record.epoch for record in records]
    marker = "o" if len(records) < 30 else ""
    curves = (
        (left, "loss", "Loss (nats)"),
        (right, "accuracy", "Accuracy"),
    )
    for axes, name, title in curves:
        for prefix, color, label in (
            ("", TRAINING, "training"),
            ("validation_", VALIDATION, "validation"),
        ):
            values = [getattr(record, prefix + name) for record in records]
            axes.plot(epochs, values, color=color, marker=marker, markersize=4, label=label)
        axes.set_title(title, loc="left")
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return _png(figure)


def _figure(width: float, height: float, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()
