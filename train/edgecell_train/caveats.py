"""What has to be known before a run's figures are believed, as sentences."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.set_parts import part_of_folder
from edgecell_runtime.wording import counted
from edgecell_train.config import SplitRule
from edgecell_train.run_record import DataRecord
from edgecell_train.runs import SplitRow
from edgecell_train.statistics import Tested

_GUESSING: Final = 0.5
_ARRAY_ROW: Final = re.compile(r"[^/]*/(?P<array>.*)-\d{5,}")
"""The names that images in arrays get; see ``edgecell_runtime.array_sets``."""


def chance_note(evaluation: Evaluation, tested: Tested) -> str:
    """Says that the net does no better than chance, where the test allows that; else empty.

    Chance is an AUC of 0.5 or, without a positive label, the accuracy of always giving the label
    that most test images have. Where too few patients were tested for any interval, which is then
    0 to 1, nothing is said.

    Args:
        evaluation: The figures.
        tested: The answers that they are of.
    """
    if tested.positive_label is not None:
        name, figure, chance = "AUC", evaluation.auc, _GUESSING
        reached = f"{chance:g}, which guessing reaches"
    else:
        counts = np.bincount(tested.truth)
        name, figure, chance = "accuracy", evaluation.accuracy, float(counts.max() / counts.sum())
        label = tested.labels[int(counts.argmax())]
        reached = f"{chance:.3f}, which always answering {label} reaches"
    if figure is None or _says_nothing(figure) or figure.low > chance:
        return ""
    where = "includes" if figure.high >= chance else "is below"
    return (
        "As far as the test images show, the net has not learned to tell the labels apart: the "
        f"95 % interval of its {name}, {figure.low:.3f} to {figure.high:.3f}, {where} {reached}."
    )


def has_own_test_part(rows: Sequence[SplitRow]) -> bool:
    """Whether the set brought its own test part along, as the names of its images show.

    Args:
        rows: The split.
    """
    tested = {_source(row.image.name) for row in rows if row.part == "test"}
    others = {_source(row.image.name) for row in rows if row.part != "test"}
    return bool(tested) and "" not in tested and tested.isdisjoint(others)


def lone_images_note(data: DataRecord, own_test_part: bool) -> str:
    """Says what follows from images without a patient; empty where each has one.

    Args:
        data: The images.
        own_test_part: See ``has_own_test_part``.
    """
    if not data.without_patient:
        return ""
    if own_test_part:
        return (
            "The test part is the set's own. Not every image names a patient, so that whether it "
            "shows the same ones as the training part cannot be checked here."
        )
    if not data.patients:
        return (
            "No image names a patient, so they were split one by one. If several show the same "
            "patient or thing, the figures may be too good, and the intervals too narrow."
        )
    return (
        f"{counted(data.without_patient, 'image')} of {data.images:,} without a patient, split one "
        "by one: if a patient gave several, the figures may be too good."
    )


def dealing_notes(data: DataRecord, rule: SplitRule) -> tuple[str, ...]:
    """What follows from how images were dealt to the folds of a cross-validation.

    Args:
        data: The images.
        rule: What was dealt.
    """
    found = []
    if rule == "image" and data.patients:
        found.append(
            "Images were dealt one by one: patients are trained and tested on, and the figures are "
            "too good for patients that the model has never seen."
        )
    if data.without_patient:
        found.append(
            f"{counted(data.without_patient, 'image')} of {data.images:,} without a patient, dealt "
            "one by one; if patients gave several, the figures are too good."
        )
    if data.drawn:
        found.append("The images are drawn cells; the figures say nothing about real ones.")
    return tuple(found)


def _source(name: str) -> str:
    """The array, or the part's folder, that an image comes from; empty where there is neither."""
    found = _ARRAY_ROW.fullmatch(name)
    if found is not None:
        return found["array"]
    _, *inner = name.split("/")
    return (part_of_folder(inner[0]) or "") if len(inner) > 1 else ""


def _says_nothing(figure: Figure) -> bool:
    return (figure.low, figure.high) == (0, 1)
