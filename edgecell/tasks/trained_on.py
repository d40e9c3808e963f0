"""Whether images are among those that a model was trained on."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.format import read_array

from edgecell import console
from edgecell_export.source import KnownImage
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.errors import StorageError
from edgecell_runtime.labelled import data_sha256
from edgecell_runtime.wording import counted
from edgecell_train.runs import Run, run_of_artifact

KNOWN: Final = Path(__file__).parents[1] / "trained_on"
"""Of the bundled models: ``<first digits of the data's hash>.npy``, see ``write_marks``."""

_DATA_DIGITS: Final = 16
_MARK_DIGITS: Final = 8


@dataclass(frozen=True)
class _Known:
    """What a model was trained or chosen on.

    Attributes:
        images: First bytes of the hashes of image files.
        names: CRC-32 of their names, which copies in another format or size keep.
        patients: Whom the images are of, where other images of theirs are none of the model's test.
    """

    images: frozenset[int]
    names: frozenset[int] = frozenset()
    patients: frozenset[str] = frozenset()


def marks_file(data: str) -> Path:
    """Where the images are listed that a bundled model was trained on.

    Args:
        data: The hash of all of them, as its manifest has it.
    """
    return KNOWN / f"{data[:_DATA_DIGITS]}.npy"


def write_marks(data: str, images: Sequence[KnownImage]) -> None:
    """Lists images that a bundled model was trained on: marks of images and names, uint32 (n, 2).

    Args:
        data: The hash of all of them.
        images: All of them.
    """
    file = marks_file(data)
    file.parent.mkdir(exist_ok=True)
    marks = sorted((_image_mark(image), _name_mark(image)) for image in images)
    np.save(file, np.array(marks, np.uint32))


def warn_of_training_images(artifact: Artifact, images: Sequence[KnownImage]) -> int:
    """Says so where images are those of an artifact's training, or of its patients.

    Args:
        artifact: Its run says what it was trained on; of a bundled model a list does; elsewhere,
            its manifest knows the whole set.
        images: All that can be read.

    Returns:
        How many it was trained or chosen on, or on others of the same patient.

    Raises:
        RunError: The artifact's run is damaged.
        StorageError: The list of a bundled model is.
    """
    known = _known(artifact)
    if known is None:
        whole = data_sha256([(image.sha256, image.name) for image in images])
        if whole != artifact.manifest.source.data_sha256:
            return 0
        console.warn(
            "These are the very images that the model was made with, training patients included: "
            f"the figures are too good. {_others(artifact)}"
        )
        return len(images)
    itself = [_image_mark(one) in known.images or _name_mark(one) in known.names for one in images]
    seen = sum(
        one or image.patient in known.patients for one, image in zip(itself, images, strict=True)
    )
    if seen:
        of_patients = ", or on others of their patients" if seen > sum(itself) else ""
        console.warn(
            f"{seen:,} of {counted(len(images), 'image')} are ones that the model was trained or "
            f"chosen on{of_patients}: the figures are too good. {_others(artifact)}"
        )
    return seen


def is_known(artifact: Artifact) -> bool:
    """Whether it is known which images an artifact was trained on.

    Raises:
        RunError: The artifact's run is damaged.
    """
    return _known(artifact) is not None


def _known(artifact: Artifact) -> _Known | None:
    """What an artifact was trained or chosen on; None where nothing lists it."""
    manifest, run = artifact.manifest, run_of_artifact(artifact.path)
    if run is not None and run.record.weights_sha256 == manifest.source.weights_sha256:
        return _known_of(run)
    file = marks_file(manifest.source.data_sha256)
    trained_on_all = manifest.evaluation is not None and manifest.evaluation.folds is not None
    if not trained_on_all or not file.is_file():
        return None
    try:
        content = io.BytesIO(file.read_bytes())
        images, names = read_array(content, allow_pickle=False).T
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(
            f"{file}, the list of the images that {artifact.path.name} was trained on, is damaged: "
            f"{error}. Install edgecell again."
        ) from error
    return _Known(frozenset(images.tolist()), frozenset(names.tolist()))


def _known_of(run: Run) -> _Known:
    images = [row.image for row in run.split() if row.part != "test"]
    marks = frozenset(map(_image_mark, images))
    if run.record.data.drawn:  # all drawn patients have the same names
        return _Known(marks)
    return _Known(marks, patients=frozenset(one.patient for one in images if one.patient))


def _image_mark(image: KnownImage) -> int:
    """The first four bytes of a hash: one image in 190,000 has one that is in a list of 22,000."""
    return int(image.sha256[:_MARK_DIGITS], 16)


def _name_mark(image: KnownImage) -> int:
    return zlib.crc32(Path(image.name).stem.encode("utf-8", "surrogateescape"))


def _others(artifact: Artifact) -> str:
    return f"`edgecell inspect {console.shown(artifact.path)}` shows those on unseen patients."
