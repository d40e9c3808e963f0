"""Classifying many image files, one after another: what ``predict`` and ``evaluate`` share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecell import console
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.images import ImageSource
from edgecell_runtime.patients import printable_name

_FEW = 20
"""Up to so many images there is no progress bar."""


@dataclass(frozen=True)
class ImageFile:
    """One image to classify.

    Attributes:
        name: As it is shown.
        read: Gives its path or bytes when its turn comes; raises ``ImageError``.
    """

    name: str
    read: Callable[[], ImageSource]


@dataclass(frozen=True)
class Answer:
    """A prediction for one image.

    Attributes:
        image: Its name.
        prediction: The classifier's.
    """

    image: str
    prediction: Prediction


@dataclass(frozen=True)
class Skipped:
    """An image that was not classified.

    Attributes:
        image: Its name.
        reason: Why.
    """

    image: str
    reason: str


@dataclass(frozen=True)
class Answers:
    """What came out.

    Attributes:
        answered: In the order asked for.
        skipped: Likewise.
    """

    answered: tuple[Answer, ...]
    skipped: tuple[Skipped, ...]


def answer_all(classifier: Classifier, files: Sequence[ImageFile], *, strict: bool) -> Answers:
    """Classifies images one by one; an image that cannot be read is named and skipped.

    Args:
        classifier: Open.
        files: At least one.
        strict: Stop at the first image that cannot be read.

    Raises:
        ImageError: ``strict``, and an image cannot be read.
        DataError: Not one image can be read.
        EngineError: The engine failed.
    """
    answered, skipped = [], []
    with console.progress() as bars:
        task = bars.add_task("Classifying", total=len(files), words="", visible=len(files) > _FEW)
        for file in files:
            try:
                answered.append(Answer(file.name, classifier.predict(file.read())))
            except ImageError as error:
                reason = _reason(file.name, error)
                if strict:
                    raise ImageError(f"{reason} Stopped at it, as --strict asks.") from error
                skipped.append(Skipped(file.name, reason))
                console.skipped(reason)
            bars.advance(task)
    if not answered:
        raise DataError(
            "The image could not be read."
            if len(files) == 1
            else f"Not one of {len(files):,} images could be read; the reasons are above."
        )
    return Answers(tuple(answered), tuple(skipped))


def _reason(name: str, error: ImageError) -> str:
    """Why an image cannot be read, with its name, which bytes do not have."""
    reason = printable_name(str(error))
    if name in reason:
        return reason
    if reason.startswith("image "):
        return f"{name} {reason.removeprefix('image ')}"
    return f"{name}: {reason}"
