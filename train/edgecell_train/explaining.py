"""Grad-CAM over some test images of a run, kept in the run for its report."""

import zipfile
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import Answer
from edgecell_runtime.errors import DataError, ImageError, RunError, UsageError
from edgecell_runtime.files import replacing
from edgecell_runtime.labelled import LabelledImages
from edgecell_train.grad_cam import grad_cam
from edgecell_train.presets.base import KerasModel
from edgecell_train.runs import Run
from edgecell_train.tested_runs import by_lot, is_right

HEAT: Final = "grad_cam.npz"
"""In a run: ``names`` and ``heat``, uint8 (n, map height, map width), 0-255."""

_EACH: Final = 8
"""Images that were told right, and as many that were told wrong."""


@dataclass(frozen=True, eq=False)
class Explained:
    """Where the net looked in one test image.

    Attributes:
        name: Of the image.
        heat: uint8 (map height, map width), 0-255; what spoke for the label that it gave.
    """

    name: str
    heat: NDArray[np.uint8]


def explain(run: Run, images: LabelledImages, model: KerasModel | None = None) -> str:
    """Computes Grad-CAM for some right and some wrong test images, by lot, and keeps it in the run.

    Args:
        run: The run.
        images: Its images.
        model: Its model, where that is loaded already.

    Returns:
        Why nothing was kept, such as that the model has no convolution; empty where it was.

    Raises:
        RunError: The run is damaged.
        StorageError: The file could not be written.
    """
    record = run.record
    if run.is_refit:
        return "Grad-CAM was left out: the answers in the report are those of the folds' models."
    names, pixels, asked = [], [], []
    for answer in _chosen(run):
        found = images.get(answer.image.name)
        if found is None:
            continue
        try:
            pixels.append(record.preprocessing.apply(images.read(found)))
        except (DataError, ImageError):  # its place in the report says so
            continue
        names.append(answer.image.name)
        asked.append(_asked(run, answer))
    if not names:
        return "Grad-CAM was left out: no test image can be read."
    if model is None:
        model = run.source_model().model
    try:
        heat = grad_cam(model, np.stack(pixels), np.array(asked), record.head)
    except UsageError as error:  # a baseline without convolution is a good run all the same
        return f"Grad-CAM was left out: {error}"
    with replacing(run.folder / HEAT) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, names=np.array(names), heat=np.round(heat * 255).astype(np.uint8))
    return ""


def explained(run: Run) -> list[Explained]:
    """What ``explain`` left in a run; empty where it left nothing.

    Raises:
        RunError: The file is damaged.
    """
    path = run.folder / HEAT
    try:
        with np.load(path, allow_pickle=False) as file:
            names, heat = file["names"], file["heat"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if heat.dtype != np.uint8 or heat.ndim != 3 or len(heat) != len(names):
        raise RunError(
            f"{path} is damaged: expected one map of uint8 a name, it has {len(names)} names and "
            f"{heat.dtype} {heat.shape}."
        )
    return [Explained(str(name), one) for name, one in zip(names, heat, strict=True)]


def _chosen(run: Run) -> list[Answer]:
    answers = by_lot(run.tested_answers(), run.record)
    right = [answer for answer in answers if is_right(answer, run.record)]
    wrong = [answer for answer in answers if not is_right(answer, run.record)]
    return right[:_EACH] + wrong[:_EACH]


def _asked(run: Run, answer: Answer) -> int:
    """The label that the net gave, as ``grad_cam`` takes it."""
    said = int(np.argmax(answer.probabilities))
    if run.record.head.kind == "sigmoid":
        return int(run.record.labels[said] != run.record.head.label)
    return said
