"""Splitting images into training, validation and test so that no patient crosses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, UsageError
from edgecell_runtime.wording import counted
from edgecell_train.config import SplitRule
from edgecell_train.dealing import deal, groups_of, lone_images

Part = Literal["training", "validation", "test"]

PARTS: Final[tuple[Part, ...]] = ("training", "validation", "test")

_SHARES: Final[dict[Part, int]] = {"test": 2, "validation": 1, "training": 7}
"""Folds that become each part."""

_LEARNING: Final[dict[Part, int]] = {"validation": 1, "training": 7}
"""The same, where the test part is known."""

_ATTEMPTS: Final = 20


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation: the one that is tested on.

    Attributes:
        number: From 1 on.
        of: How many folds there are, 2 or more.

    Raises:
        UsageError: There is no such fold.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if self.of < 2 or not 1 <= self.number <= self.of:
            raise UsageError(
                f"There is no fold {self.number} of {self.of}; one training takes one of two or "
                "more folds, from 1 on."
            )


def split(
    labels: Sequence[str],
    patients: Sequence[str | None],
    seed: int,
    given: Sequence[Part | None] = (),
    rule: SplitRule = "patient",
    fold: Fold | None = None,
) -> NDArray[np.str_]:
    """Splits 70/10/20, patient by patient, with the classes' shares alike in every part.

    Whole patients are dealt to ten folds by scikit-learn's ``StratifiedGroupKFold``, the most
    uneven first, each to the fold whose class counts it levels best; that evens out the patients'
    sizes too. An image without a patient is dealt on its own. Seven folds become training, one
    validation and two test, drawn by the seed. With few patients a deal can leave a part without a
    class; then the next of twenty deals is taken, in an order set by the seed.

    In a cross-validation the same deal makes as many folds as are wanted, one of which is the test
    part; a patient is in exactly one of them. One eighth of the others becomes validation.

    Where a set brings its own test part, that is the test part; the others are dealt to eight
    folds, seven for training and one for validation. The same with its own validation part.

    Args:
        labels: One an image.
        patients: One an image, None where it is unknown.
        seed: The same seed gives the same split.
        given: One an image: the part that the set says it is of, or None; ``training`` says no more
            than that it is in neither of the others. Empty where no image has one.
        rule: ``image`` deals images one by one, whoever they come from.
        fold: The fold that is the test part; None where it is a fifth.

    Returns:
        str (images,), each one of ``training``, ``validation`` and ``test``.

    Raises:
        DataError: There are too few images or patients to put every class into every part, or a
            patient is in two of the parts that the set brings along.
        UsageError: Folds are wanted of a set that brings parts along.
    """
    truth = np.asarray(labels)
    if rule == "image":
        patients = [None] * len(truth)
    if fold is not None:
        _require_no_parts(given)
        return _fold_parts(truth, patients, fold, seed)
    parts = np.array([part or "training" for part in given or [None] * len(truth)], dtype="<U10")
    free = parts == "training"
    brought = tuple(part for part in _SHARES if part != "training" and (parts == part).any())
    if brought:
        require_apart(parts.tolist(), patients)
        _require_classes(truth, parts, (*brought, "training"))
    shares = {part: share for part, share in _SHARES.items() if part not in brought}
    if len(shares) > 1:
        parts[free] = _dealt(
            truth[free],
            [p for p, is_free in zip(patients, free, strict=True) if is_free],
            shares,
            seed,
        )
    return parts


def check_folds(
    labels: Sequence[str],
    patients: Sequence[str | None],
    seed: int,
    given: Sequence[Part | None],
    rule: SplitRule,
    folds: int,
) -> None:
    """Finds out before the first training whether every fold can be trained on and tested.

    Args:
        labels: One an image.
        patients: One an image, None where it is unknown.
        seed: Of the split.
        given: The parts that the set brings along.
        rule: What is dealt.
        folds: How many.

    Raises:
        DataError: There are too few images or patients of a class.
        UsageError: The set brings parts along, or folds are fewer than two.
    """
    for number in range(1, folds + 1):
        split(labels, patients, seed, given, rule, Fold(number, folds))


def leak_note(patients: Sequence[str | None], parts: NDArray[np.str_]) -> str:
    """Says that patients cross the split, where they do; else empty.

    Args:
        patients: One an image, None where it is unknown.
        parts: str (images,), the part of each.
    """
    part_of: dict[str, set[str]] = {}
    for patient, part in zip(patients, parts.tolist(), strict=True):
        if patient is not None:
            part_of.setdefault(patient, set()).add(part)
    crossing = sum(len(found) > 1 for found in part_of.values())
    if not crossing:
        return ""
    return (
        f"Images were split one by one, and {crossing:,} of {len(part_of):,} patients have some in "
        "more than one part. The model is tested on patients that it knows: the figures are too "
        "good, and comparable only with others that were made so."
    )


def _require_no_parts(given: Sequence[Part | None]) -> None:
    brought = sorted({part for part in given if part not in (None, "training")}, key=str)
    if brought:
        raise UsageError(
            f"folds are wanted, and the set brings its own {brought[0]} part along, which would be "
            "trained on. Leave folds out, or save the images without parts."
        )


def require_apart(parts: Sequence[str], patients: Sequence[str | None]) -> None:
    """Refuses parts that a set brings along where a patient is in two of them.

    Args:
        parts: One an image.
        patients: One an image, None where it is unknown.

    Raises:
        DataError: One is.
    """
    part_of: dict[str, str] = {}
    for patient, part in zip(patients, parts, strict=True):
        if patient is not None and part_of.setdefault(patient, part) != part:
            raise DataError(
                f"The set brings its own parts, and patient {patient} is both in {part} and in "
                f"{part_of[patient]}; expected each patient in one of them, or the figures would "
                "be too good. Save the images without parts, so that patients are split here, or "
                "take the parts as they are with --split image."
            )


def _require_classes(
    truth: NDArray[np.str_], parts: NDArray[np.str_], required: Sequence[Part]
) -> None:
    for part in required:
        missing = sorted(set(truth) - set(truth[parts == part]))
        if missing:
            raise DataError(
                f"The set brings its own parts, and {part} has no readable image of {missing[0]}; "
                "expected every class in each. Save the images without parts, so that they are "
                "split here."
            )


def _fold_parts(
    truth: NDArray[np.str_], patients: Sequence[str | None], fold: Fold, seed: int
) -> NDArray[np.str_]:
    tested = _deal_folds(truth, groups_of(patients), fold.of, seed) == fold.number - 1
    parts = np.full(len(truth), "test", dtype="<U10")
    others = [p for p, is_tested in zip(patients, tested, strict=True) if not is_tested]
    try:
        parts[~tested] = _dealt(truth[~tested], others, _LEARNING, seed)
    except DataError as error:
        where = f"Beside fold {fold.number} of {fold.of}"
        raise DataError(f"{where}, too little is left to learn from: {error}") from error
    return parts


def _deal_folds(
    truth: NDArray[np.str_], groups: NDArray[np.str_], folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each image, from 0 on; every class is in each."""
    classes = np.unique(truth).tolist()
    for label in classes:
        found = len(set(groups[truth == label].tolist()))
        if found < folds:
            noun = "patients or lone images" if len(set(groups.tolist())) < len(truth) else "images"
            raise DataError(
                f"There are {found} {noun} of {label} for {folds} folds; expected at least one for "
                "each. Take fewer folds, or add patients of that class."
            )
    for attempt in range(_ATTEMPTS):
        dealt = deal(truth, groups, folds, (seed + attempt * 1_000_003) % 2**32)
        if len(set(zip(dealt.tolist(), truth.tolist(), strict=True))) == folds * len(classes):
            return dealt
    raise DataError(
        f"The patients cannot be dealt to {folds} folds so that every class is in each. Take fewer "
        "folds, or add patients of every class."
    )


def _dealt(
    truth: NDArray[np.str_], patients: Sequence[str | None], shares: Mapping[Part, int], seed: int
) -> NDArray[np.str_]:
    folds = sum(shares.values())
    groups = groups_of(patients)
    lone = lone_images(groups)
    classes, counts = np.unique(truth if lone is None else truth[lone], return_counts=True)
    rarest = int(counts.argmin())
    aims = "train, validate and test" if "test" in shares else "train and validate"
    if counts[rarest] < folds:
        raise DataError(
            f"There {'is' if counts[rarest] == 1 else 'are'} "
            f"{counted(int(counts[rarest]), 'readable image')} of {classes[rarest]}, copies not "
            f"counted; at least {folds} of each class are needed to {aims}."
        )
    found = len(set(groups))
    if found < folds:
        noun = "patient" if found == 1 else "patients"
        raise DataError(
            f"The images come from {found} {noun}; at least {folds} are needed to {aims} without "
            "sharing one. Add patients of every class."
        )
    for attempt in range(_ATTEMPTS):
        attempt_seed = (seed + attempt * 1_000_003) % 2**32
        parts = _parts_of_folds(deal(truth, groups, folds, attempt_seed), shares, attempt_seed)
        present = {(part, label) for part, label in zip(parts, truth, strict=True)}
        if len(present) == len(shares) * len(classes):
            return parts
    raise DataError(
        f"The images come from {found} patients, too few to give training, validation "
        "and test patients of every class without sharing one. Add patients of every class."
    )


def _parts_of_folds(
    folds: NDArray[np.int64], shares: Mapping[Part, int], seed: int
) -> NDArray[np.str_]:
    part_of_fold = np.array([part for part, share in shares.items() for _ in range(share)], "<U10")
    # The deal itself hardly depends on the seed where patients differ in size.
    drawn = np.random.default_rng(seed).permutation(part_of_fold)
    parts: NDArray[np.str_] = drawn[folds]
    return parts
