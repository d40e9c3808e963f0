"""Epochs of edgecell's training loop and of a plain ``model.fit``, by turns in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from runtime_rows import Goal, Row, Words, by_turns, compare

from edgecell_export.tensorflow import import_keras
from edgecell_train.decoding import decode
from edgecell_train.feeding import LabelledPixels
from edgecell_train.hdf5_images import open_data
from edgecell_train.labelling import Labelling, head_of, positive_label
from edgecell_train.losses import loss_of
from edgecell_train.presets import Preset, find_preset
from edgecell_train.stepping import Trainer

GOAL: Final = Goal("ratio", "at least", 1.0)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        data: Labelled images.
        preset: Name of the preset.
        images: Of an epoch, drawn at random.
        rounds: Epochs of each.
    """

    data: Path
    preset: str
    images: int
    rounds: int


def steps(plan: Plan, generator: np.random.Generator) -> list[Row]:
    """Images a second of the step alone.

    Raises:
        EdgecellError: The preset or the images cannot be used.
    """
    preset = find_preset(plan.preset)
    part, labelling = _images(plan, preset, generator)
    ways: dict[str, Callable[[], None]] = {
        "edgecell": _ours(preset, part, labelling),
        "model.fit": _plain(preset, part, labelling),
    }
    for way in ways.values():  # traces
        way()
    seconds = by_turns([_timed(way) for way in ways.values()], plan.rounds, generator)
    rates = len(part) / seconds
    words = Words("step", f"{len(part):,} images, {preset.name}", *ways, f"images/s ({_backend()})")
    return [compare(words, rates[0], rates[1], GOAL)]


def _images(
    plan: Plan, preset: Preset, generator: np.random.Generator
) -> tuple[LabelledPixels, Labelling]:
    with open_data(plan.data) as images:
        decoded = decode(images, preset.preprocessing, lambda *_: None)
        labels = images.labels
    rows = np.sort(generator.permutation(len(decoded.images))[: plan.images])
    truth = np.array([labels.index(decoded.images[row].label) for row in rows])
    positive = positive_label(labels, None)
    pixels = np.ascontiguousarray(decoded.pixels[rows])
    return LabelledPixels(pixels, truth), Labelling(labels, head_of(preset, labels, positive))


def _ours(preset: Preset, part: LabelledPixels, labelling: Labelling) -> Callable[[], None]:
    model = preset.build(preset.preprocessing.shape, len(labelling.labels))
    trainer = Trainer(model, labelling, preset.recipe, part)
    return lambda: _ignore(trainer.train_epoch(1, lambda *_: None))


def _plain(preset: Preset, part: LabelledPixels, labelling: Labelling) -> Callable[[], None]:
    """As the course has it: arrays into ``fit``."""
    model = preset.build(preset.preprocessing.shape, len(labelling.labels))
    model.compile(
        optimizer=preset.recipe.optimizer.name,
        loss=loss_of(labelling.head.kind, 0.0),
        metrics=["accuracy"],
    )
    pixels, targets = part.pixels, labelling.targets(part.truth)
    size = preset.recipe.batch_size
    return lambda: _ignore(model.fit(pixels, targets, batch_size=size, epochs=1, verbose=0))


def _timed(way: Callable[[], None]) -> Callable[[], float]:
    def seconds() -> float:
        began = time.perf_counter()
        way()
        return time.perf_counter() - began

    return seconds


def _backend() -> str:
    return str(import_keras().backend.backend())


def _ignore(_: object) -> None: ...
