"""Dealing groups of images to folds: patients, single images, copies of an image."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

COPIES: Final = "copies of image "
"""What the group of images that are the same, and of no known patient, is called first."""

_LONE: Final = "image "


def groups_of(patients: Sequence[str | None]) -> NDArray[np.str_]:
    """The group of each image; one without a patient is a group of its own."""
    return np.array([p if p is not None else f"{_LONE}{i}" for i, p in enumerate(patients)])


def lone_images(groups: NDArray[np.str_]) -> NDArray[np.int64] | None:
    """The first image of each group where none is a patient's; None where one is."""
    firsts = np.sort(np.unique(groups, return_index=True)[1])
    if len(firsts) == len(groups) or all(
        group.startswith((_LONE, COPIES)) for group in set(groups.tolist())
    ):
        return firsts
    return None


def deal(
    truth: NDArray[np.str_], groups: NDArray[np.str_], folds: int, seed: int
) -> NDArray[np.int64]:
    """Deals groups to folds, with the classes' shares alike in each.

    Args:
        truth: str (images,), the label of each.
        groups: str (images,), what must stay together.
        folds: How many.
        seed: The same seed gives the same deal.

    Returns:
        int64 (images,), the fold of each, from 0 on.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    of_images = np.empty(len(truth), dtype=np.int64)
    lone = lone_images(groups)
    if lone is None:
        by_group = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for fold, (_, members) in enumerate(by_group.split(truth, truth, groups)):
            of_images[members] = fold
        return of_images
    # Where no group is a patient's, its first image is dealt, and takes its copies along: groups
    # are dealt in a loop, which is slow where there are as many as images.
    by_image = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(by_image.split(truth[lone], truth[lone])):
        of_images[lone[members]] = fold
    first_of = dict(zip(groups[lone].tolist(), lone.tolist(), strict=True))
    return of_images[[first_of[group] for group in groups.tolist()]]
