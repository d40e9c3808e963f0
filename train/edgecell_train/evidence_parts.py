"""Which images an export calibrates, chooses and compares on, where a net was trained on all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_train.config import SplitRule
from edgecell_train.same_images import kept_together
from edgecell_train.split import split


def evidence_parts(
    labels: Sequence[str],
    patients: Sequence[str | None],
    sha256: Sequence[str],
    seed: int,
    rule: SplitRule,
) -> NDArray[np.str_]:
    """Deals images as ``split`` does, so that an export's three uses share no patient.

    The net knows all of them. Ranges that were set on the very images on which the exported file is
    compared would flatter the comparison all the same.

    Args:
        labels: One an image.
        patients: One an image, None where it is unknown.
        sha256: Of each image.
        seed: Of the deal.
        rule: Of the training.

    Returns:
        str (images,): ``training`` for calibration, ``validation`` for choices, ``test`` for the
        comparison.

    Raises:
        DataError: There are too few images or patients of a class.
    """
    known = [None if rule == "image" else patient for patient in patients]
    return split(labels, kept_together(known, sha256, [None] * len(labels)), seed)
