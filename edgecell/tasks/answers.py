"""Classifying many image files: what ``predict`` and ``evaluate`` share."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from edgecell import console
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.images import ImageSource
from edgecell_runtime.printable import printable_name

FEW = 20
"""Up to so many images there is no progress bar."""


@dataclass(frozen=True)
class ImageFile:
    """One image to classify.

    Attributes:
        name: As it is shown.
        source: Read when its turn comes, in one of the classifier's workers.
    """

    name: str
    source: ImageSource


class LateFile:
    """A binary file whose content a function gives, all at once, when its turn comes.

    Args:
        content: Called once, in one of the classifier's workers; it has a limit of its own, and may
            raise ``ImageError``. It is let go of afterwards, with all that it holds.
    """

    def __init__(self, content: Callable[[], bytes]) -> None:
        self._content: Callable[[], bytes] | None = content

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - all at once, as said above
        """The content; nothing when called again."""
        content, self._content = self._content, None
        return b"" if content is None else content()


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


def classify(
    classifier: Classifier, files: Iterable[ImageFile | None]
) -> Generator[Answer | Skipped | None, None, None]:
    """Classifies images as they come; the answers have their order.

    Args:
        classifier: Open.
        files: Consumed a few images ahead of the answers. None says that the next one may be long
            in coming: whatever is on its way is finished before it is waited for.

    Yields:
        One outcome an image, and None where ``files`` gave None.

    Raises:
        EngineError: The engine failed.
    """
    pending = iter(files)
    for first in pending:
        if first is None:
            yield None
            continue
        burst = _Burst(first, pending)
        predictions = classifier.predict_many(burst, return_exceptions=True)
        # Closed here, so that its workers end before what they read from is closed.
        with contextlib.closing(cast(Generator[Prediction | ImageError, None, None], predictions)):
            for outcome in predictions:
                name = burst.names.popleft()
                if isinstance(outcome, ImageError):
                    yield Skipped(name, _reason(name, outcome))
                else:
                    yield Answer(name, outcome)
        if burst.waits:
            yield None


class _Burst:
    """The images up to the next None, and the names of those that are on their way."""

    def __init__(self, first: ImageFile, rest: Iterator[ImageFile | None]) -> None:
        self.names: deque[str] = deque()
        self.waits = False
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[ImageSource]:
        file: ImageFile | None = self._first
        while file is not None:
            self.names.append(file.name)
            yield file.source
            try:
                file = next(self._rest)
            except StopIteration:
                return
        self.waits = True


def answer_all(classifier: Classifier, files: Sequence[ImageFile], *, strict: bool) -> Answers:
    """Classifies images; one that cannot be read is named and skipped.

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
    with console.progress() as bars, contextlib.closing(classify(classifier, files)) as outcomes:
        task = bars.add_task("Classifying", total=len(files), words="", visible=len(files) > FEW)
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                answered.append(outcome)
            elif isinstance(outcome, Skipped):
                report(outcome, strict=strict)
                skipped.append(outcome)
            bars.advance(task)
    if not answered:
        raise none_could_be_read(len(files))
    return Answers(tuple(answered), tuple(skipped))


def report(skipped: Skipped, *, strict: bool) -> None:
    """Names an image that was skipped.

    Raises:
        ImageError: ``strict``.
    """
    if strict:
        raise ImageError(f"{skipped.reason} Stopped at it, as --strict asks.")
    console.skipped(skipped.reason)


def none_could_be_read(count: int) -> DataError:
    """The error of a command that could read none of its images."""
    if count == 1:
        return DataError("The only image could not be read; the reason is above.")
    return DataError(f"Not one of {count:,} images could be read; the reasons are above.")


def _reason(name: str, error: ImageError) -> str:
    """Why an image cannot be read, with its name, which bytes do not have."""
    reason = printable_name(str(error))
    if name in reason:
        return reason
    if reason.startswith("image "):
        return f"{name} {reason.removeprefix('image ')}"
    return f"{name}: {reason}"
