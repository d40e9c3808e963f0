"""The run's unseen images, decoded once for all files that are compared."""

from dataclasses import dataclass

import numpy as np
from contenders import Pixels
from numpy.typing import NDArray

from edgecell import console
from edgecell_export.known_images import read_known
from edgecell_export.source import Evidence
from edgecell_train.runs import Run


@dataclass(frozen=True)
class TestImages:
    """The run's unseen images, decoded once.

    Attributes:
        pixels: uint8 (n, height, width, channels), 0-255, preprocessed.
        truth: int (n,), index of each label.
        stored: float64 (n, labels), the answers that the run stored.
        patients: Of each image.
    """

    pixels: Pixels
    truth: NDArray[np.int64]
    stored: NDArray[np.float64]
    patients: tuple[str | None, ...]


def read_test_images(run: Run, evidence: Evidence) -> TestImages:
    """Decodes the run's test images from their files, each checked by its hash.

    Raises:
        DataError: An image is gone or was changed.
        ImageError: An image cannot be read.
    """
    answers, record = evidence.held_out, run.record
    console.say(f"Decoding {len(answers):,} test images ...")
    patients = {row.image.name: row.image.patient for row in run.split()}
    return TestImages(
        pixels=np.stack(
            [record.preprocessing.apply(read_known(evidence.images, a.image)) for a in answers]
        ),
        truth=np.array([record.labels.index(a.image.label) for a in answers]),
        stored=np.array([a.probabilities for a in answers]),
        patients=tuple(patients[a.image.name] for a in answers),
    )
