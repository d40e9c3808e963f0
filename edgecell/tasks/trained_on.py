"""Whether images are among those that a model was trained on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from edgecell import console
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.labelled import data_sha256
from edgecell_runtime.wording import counted
from edgecell_train.runs import run_of_artifact

KNOWN: Final = Path(__file__).parents[1] / "trained_on"
"""Of the bundled models: ``<first digits of the data's hash>.npy``, see ``marks_file``."""

_DATA_DIGITS: Final = 16
_MARK_DIGITS: Final = 8


def mark(sha256: str) -> int:
    """What is kept of an image's hash: its first four bytes. Of 10,000 others, none has the same.

    Args:
        sha256: Of the original file, hexadecimal.
    """
    return int(sha256[:_MARK_DIGITS], 16)


def marks_file(data: str) -> Path:
    """Where the images are listed that a bundled model was trained on.

    Args:
        data: The hash of all of them, as its manifest has it.

    Returns:
        The path of an array, uint32 (images,), of their marks.
    """
    return KNOWN / f"{data[:_DATA_DIGITS]}.npy"


def warn_of_training_images(artifact: Artifact, hashes: Iterable[tuple[str, str]]) -> None:
    """Says so where images are those of an artifact's training, or some of them.

    Args:
        artifact: Its run says which images it was trained on; of a bundled model a list does;
            elsewhere, its manifest knows the whole set.
        hashes: Of each image that can be read its SHA-256 and its name.

    Raises:
        RunError: The artifact's run is damaged.
    """
    images = list(hashes)
    known = _known(artifact)
    if known is not None:
        seen = sum(mark(sha256) in known for sha256, _ in images)
        if seen:
            console.warn(
                f"{seen:,} of {counted(len(images), 'image')} are ones that the model was trained "
                f"or chosen on: the figures are too good. {_others(artifact)}"
            )
    elif data_sha256(images) == artifact.manifest.source.data_sha256:
        console.warn(
            "These are the very images that the model was made with, training patients included: "
            f"the figures are too good. {_others(artifact)}"
        )


def _known(artifact: Artifact) -> frozenset[int] | None:
    """The marks of what an artifact was trained or chosen on; None where there is no list."""
    run = run_of_artifact(artifact.path)
    if run is not None:
        return frozenset(mark(row.image.sha256) for row in run.split() if row.part != "test")
    manifest = artifact.manifest
    file = marks_file(manifest.source.data_sha256)
    trained_on_all = manifest.evaluation is not None and manifest.evaluation.folds is not None
    if not trained_on_all or not file.is_file():
        return None
    return frozenset(np.load(file, allow_pickle=False).tolist())


def _others(artifact: Artifact) -> str:
    return f"`edgecell inspect {console.shown(artifact.path)}` shows those on unseen patients."
