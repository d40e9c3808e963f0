"""Plots as PNG bytes, drawn with matplotlib without a display."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecell_runtime import metrics
from edgecell_train.fitting import EpochRecord

TRAINING, VALIDATION = "#7a4b9a", "#1f8a8a"

_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


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
        axes.legend()
    return _png(figure)


def confusion(truth: Sequence[int], predicted: Any, labels: Sequence[str]) -> bytes:
    """The confusion matrix: rows are what an image shows, columns what the model said."""
    counts = metrics.confusion(np.asarray(truth), np.asarray(predicted), len(labels))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.9 * len(labels)
    figure, axes = _figure(side + 1.2, side)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}\n{shares[row, column]:.1%}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.55 else "black",
            )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    axes.set_xlabel("The model says")
    axes.set_ylabel("The image shows")
    return _png(figure)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()
