"""A run whose net 8-bit activations ruin, while most of its layers bear them well.

One unit of the layer ``hidden`` answers a thousand times as large as all others, and the layer
behind it nearly ignores that unit: with 256 steps for all of them nothing is left of the others.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import KnownImage, source_probabilities
from support.small_run import (
    HEAD,
    LABELS,
    SmallRun,
    build_small_model,
    draw_cells,
    make_source,
    save,
    split_cells,
    spread_answers,
)

LOUD = 1000.0


def make_outlier_run(folder: Path) -> SmallRun:
    """Lets the net answer for 800 drawn cells, and takes its answers for the truth.

    A cell near the decision would fall to either side with any rounding; such are left out.
    """
    images, known, pixels = draw_cells(folder, 800)
    model = _build(pixels)
    save(model, folder / "outlier.keras")
    answers = source_probabilities(model, pixels, HEAD, LABELS)
    truth = [
        dataclasses.replace(image, label=LABELS[int(np.argmax(answer))])
        for image, answer in zip(known, answers, strict=True)
    ]
    clear = np.abs(answers[:, 0] - 0.5) > 0.1
    evidence = split_cells(images, _only(truth, clear), answers[clear])
    source = dataclasses.replace(make_source(model), name="outlier")
    return SmallRun(folder / "cell_images", source, evidence, pixels, folder / "outlier.keras")


def _build(pixels: NDArray[np.uint8]) -> Any:
    model = build_small_model(pixels)
    hidden, last = model.get_layer("hidden"), model.get_layer("last")
    kernel, bias = (np.array(weight) for weight in hidden.get_weights())
    outputs = np.array(last.get_weights()[0])
    activations = _hidden(model, pixels)
    loudest = int(activations.mean(axis=0).argmax())
    kernel[:, loudest] *= LOUD
    bias[loudest] *= LOUD
    outputs[loudest] *= 1e-5
    hidden.set_weights([kernel, bias])
    last.set_weights([outputs, last.get_weights()[1]])
    spread_answers(model, pixels)
    return model


def _hidden(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    tensor = pixels.astype(np.float32)
    for layer in model.layers:
        tensor = layer(tensor)
        if layer.name == "hidden":
            break
    return np.asarray(tensor)


def _only(known: list[KnownImage], kept: NDArray[np.bool_]) -> list[KnownImage]:
    return [image for image, keep in zip(known, kept, strict=True) if keep]
