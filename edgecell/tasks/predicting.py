"""Predictions as the command ``predict`` makes them: which images, what is shown of them."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.answers import Answer, Answers, ImageFile, answer_all
from edgecell.tasks.artifacts import latest_artifact, open_artifact
from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import DataError
from edgecell_runtime.images import SUFFIXES
from edgecell_runtime.patients import printable_name


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        images: Image files, and folders of them.
        model: The artifact; None takes one of the latest run.
        threads: For the engine; None takes the CPUs that this process may use.
        strict: Stop at the first image that cannot be read.
    """

    images: tuple[Path, ...]
    model: Path | None = None
    threads: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class Predicted:
    """What came out.

    Attributes:
        model: The artifact.
        engine: What ran it.
        threads: Of the engine.
        labels: Of the artifact.
        positive_label: What a positive decision means, if anything.
        answers: Image by image.
    """

    model: str
    engine: str
    threads: int
    labels: tuple[str, ...]
    positive_label: str | None
    answers: Answers


def predict_images(request: Request) -> Predicted:
    """Classifies the images.

    Raises:
        EdgecellError: There is no artifact, no image, or not one image that can be read.
    """
    if request.model is not None:
        artifact = read_artifact(request.model)
    else:
        artifact = latest_artifact()
        console.say(f"Model: {artifact.path} (name another with --model)")
    paths = find_images(request.images)
    with open_artifact(artifact, request.threads) as classifier:
        files = [_file(path) for path in paths]
        return Predicted(
            model=printable_name(str(artifact.path)),
            engine=classifier.engine,
            threads=classifier.threads,
            labels=classifier.labels,
            positive_label=classifier.manifest.positive_label,
            answers=answer_all(classifier, files, strict=request.strict),
        )


def find_images(given: Sequence[Path]) -> list[Path]:
    """The files as they are given, and of each folder all images below it, sorted.

    Whatever is hidden or has no image's suffix is passed over in folders; a file that is named
    itself is taken whatever it is called.

    Raises:
        DataError: A folder cannot be read, or holds no image.
    """
    found: list[Path] = []
    for path in given:
        found += _images_below(path) if path.is_dir() else [path]
    return found


def _file(path: Path) -> ImageFile:
    return ImageFile(printable_name(str(path)), lambda: path)


def _images_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror}. Check its permissions."
        ) from error

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in files if _is_image(path := Path(place, name))]
    if not found:
        raise DataError(
            f"{folder} holds no images; expected files that end in one of "
            f"{', '.join(sorted(SUFFIXES))}. Check the path."
        )
    return sorted(found)


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
        return False
    # A pipe would be waited for; a link that leads nowhere is named when it is read.
    return path.is_file() or not path.exists()


def document(predicted: Predicted) -> Json:
    """The result for machines."""
    return {
        "model": predicted.model,
        "engine": predicted.engine,
        "threads": predicted.threads,
        "predictions": [
            {
                "image": answer.image,
                "label": answer.prediction.label,
                "probability": answer.prediction.probability,
                "probabilities": dict(answer.prediction.probabilities),
                "positive": answer.prediction.positive,
            }
            for answer in predicted.answers.answered
        ],
        "skipped": codec.encode(predicted.answers.skipped),
    }


def table(predicted: Predicted) -> Table:
    """One row an image, numbers with all their digits, for files."""
    positive = ("positive",) if predicted.positive_label is not None else ()
    by_label = (f"p({label})" for label in predicted.labels)
    rows = [
        (
            *_words(answer, str(answer.prediction.probability)),
            *(str(answer.prediction.probabilities[label]) for label in predicted.labels),
        )
        for answer in predicted.answers.answered
    ]
    return Table("", ("image", "label", "probability", *positive, *by_label), rows)


def lines(predicted: Predicted) -> list[str]:
    """One line an image, in columns, for people.

    No table of rich: it folds long paths, and takes ten seconds for thirty thousand rows.
    """
    rows = [
        _words(answer, f"{answer.prediction.probability:.4f}")
        for answer in predicted.answers.answered
    ]
    heads = ("image", "label", "probability", "positive")[: len(rows[0])]
    widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]


def summary(predicted: Predicted) -> str:
    """How many images got which label."""
    counts = Counter(answer.prediction.label for answer in predicted.answers.answered)
    parts = [f"{counts[label]:,} {label}" for label in predicted.labels]
    skipped = len(predicted.answers.skipped)
    end = f"; {skipped:,} skipped" if skipped else ""
    return f"{counts.total():,} images: {', '.join(parts)}{end}."


def _words(answer: Answer, probability: str) -> tuple[str, ...]:
    positive = answer.prediction.positive
    decision = () if positive is None else ("yes" if positive else "no",)
    return (answer.image, answer.prediction.label, probability, *decision)
