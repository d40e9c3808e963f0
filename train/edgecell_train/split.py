"""Splitting images into training, validation and test so that no patient crosses."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError

Part = Literal["training", "validation", "test"]

PARTS: Final[tuple[Part, ...]] = ("training", "validation", "test")

_FOLDS: Final = 10
_FOLDS_OF: Final[dict[Part, range]] = {
    "test": range(2),
    "validation": range(2, 3),
    "training": range(3, _FOLDS),
}
_ATTEMPTS: Final = 20


def split(labels: Sequence[str], patients: Sequence[str | None], seed: int) -> NDArray[np.str_]:
    """Splits 70/10/20, patient by patient, with the classes' shares alike in every part.

    Whole patients are dealt to ten folds by scikit-learn's ``StratifiedGroupKFold``, the most
    uneven first, each to the fold whose class counts it levels best; that evens out the patients'
    sizes too. An image without a patient is dealt on its own. Seven folds become training, one
    validation and two test, drawn by the seed. With few patients a deal can leave a part without a
    class; then the next of twenty deals is taken, in an order set by the seed.

    Args:
        labels: One an image.
        patients: One an image, None where it is unknown.
        seed: The same seed gives the same split.

    Returns:
        str (images,), each one of ``training``, ``validation`` and ``test``.

    Raises:
        DataError: There are too few images or patients to put every class into every part.
    """
    truth = np.asarray(labels)
    classes, counts = np.unique(truth, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < _FOLDS:
        raise DataError(
            f"There are {counts[rarest]} readable images of {classes[rarest]}; at least {_FOLDS} "
            "of each class are needed to train, validate and test."
        )
    groups = np.array([p if p is not None else f"image {i}" for i, p in enumerate(patients)])
    found = len(set(groups))
    if found < _FOLDS:
        noun = "patient" if found == 1 else "patients"
        raise DataError(
            f"The images come from {found} {noun}; at least {_FOLDS} are "
            "needed to train, validate and test without sharing one. Add patients of every class."
        )
    for attempt in range(_ATTEMPTS):
        attempt_seed = (seed + attempt * 1_000_003) % 2**32
        parts = _parts_of_folds(_deal(truth, groups, attempt_seed), attempt_seed)
        present = {(part, label) for part, label in zip(parts, truth, strict=True)}
        if len(present) == len(PARTS) * len(classes):
            return parts
    raise DataError(
        f"The images come from {found} patients, too few to give training, validation "
        "and test patients of every class without sharing one. Add patients of every class."
    )


def _deal(truth: NDArray[np.str_], groups: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(set(groups)) == len(groups)
    deal = StratifiedKFold if alone else StratifiedGroupKFold
    used = None if alone else groups
    folds = np.empty(len(truth), dtype=np.int64)
    splitter = deal(_FOLDS, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(splitter.split(truth, truth, used)):
        folds[members] = fold
    return folds


def _parts_of_folds(folds: NDArray[np.int64], seed: int) -> NDArray[np.str_]:
    part_of_fold = np.empty(_FOLDS, dtype="<U10")
    for part, members in _FOLDS_OF.items():
        part_of_fold[list(members)] = part
    # The deal itself hardly depends on the seed where patients differ in size.
    drawn = np.random.default_rng(seed).permutation(part_of_fold)
    parts: NDArray[np.str_] = drawn[folds]
    return parts
