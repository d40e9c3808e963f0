"""The images that artifacts are measured on: held-out ones, given ones, or patterns."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgecell import console
from edgecell.tasks.trained_on import is_known, warn_of_training_images
from edgecell_export.source import Answer, KnownImage
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.bench.plan import Query, Stage
from edgecell_runtime.errors import DataError, ImageError, UsageError
from edgecell_runtime.files import storage_errors
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.stored_images import StoredImage, image_sha256
from edgecell_runtime.wording import counted
from edgecell_train.hdf5_images import open_data
from edgecell_train.runs import Run, run_of_artifact

MAX_IMAGES: Final = 5000
"""More are drawn from by lot: they would take minutes to decode and gigabytes to keep."""

FILES: Final = "files"

Kind = Literal["held-out", "known", "given", "golden"]


@dataclass(frozen=True)
class Wanted:
    """An image to be measured on.

    Attributes:
        query: As the job has it.
        sha256: See ``image_sha256``; empty where any image will do.
    """

    query: Query
    sha256: str = ""


@dataclass(frozen=True)
class Chosen:
    """The images of a benchmark.

    Attributes:
        kind: What they are.
        location: Where they lie; None for patterns.
        wanted: Which of them; empty for patterns.
        expected: The source model's probabilities for them, by artifact.
    """

    kind: Kind
    location: Path | None = None
    wanted: tuple[Wanted, ...] = ()
    expected: Mapping[Path, tuple[tuple[float, ...], ...]] | None = None


PATTERNS: Final = Chosen("golden")
"""What needs no images: the patterns whose answers an artifact knows."""


@dataclass(frozen=True)
class Written:
    """What was put into a job's folder.

    Attributes:
        queries: One a row of the inputs.
        expected: By artifact, of the same rows.
    """

    queries: tuple[Query, ...]
    expected: Mapping[Path, tuple[tuple[float, ...], ...]]


def choose(artifacts: Sequence[Artifact], data: Path | None, seed: int) -> Chosen:
    """Takes the images that every artifact's run held out, else those given, else patterns.

    Args:
        artifacts: What is measured.
        data: Where the run's images are now, or labelled images; None takes the runs' own.
        seed: Of the lot where there are too many.

    Raises:
        DataError: The images are not where they should be.
        RunError: An artifact's run is damaged.
    """
    runs = {artifact.path: run_of_artifact(artifact.path) for artifact in artifacts}
    answers = {path: run.answers() for path, run in runs.items() if run is not None}
    first = next((run for run in runs.values() if run is not None), None)
    if first is not None:
        shared = _shared(list(answers.values()))
        location = data or first.folder / first.record.data.location
        if shared and _are_the_runs(first, data, shared):
            chosen = _held_out(first, location, shared, answers, seed)
            knowing = _strangers([one for one in artifacts if runs[one.path] is None], shared)
            return _known(chosen, [run for run in runs.values() if run is not None], knowing)
    if data is None:
        console.warn(
            "The artifacts lie in no run, or in runs that held out different images: times are "
            "measured on patterns, and right answers are not. Give labelled images with --data."
        )
        return PATTERNS
    with open_data(data, minimum_labels=1) as images:
        _warn_of_training(images, artifacts)
        found = [
            Wanted(Query(image.name, image.label, image.patient or ""))
            for image in images.tested_on()
        ]
    return Chosen("given", data, tuple(_by_lot(found, seed)))


def write(chosen: Chosen, artifacts: Sequence[Artifact], folder: Path, stage: Stage) -> Written:
    """Puts the images into a job's folder as its artifacts take them.

    Images that cannot be read are left out, and counted.

    Raises:
        UsageError: Two artifacts take images of one shape and prepare them differently.
        DataError: Not one image can be read, or one was changed since the run was made.
        StorageError: The folder cannot be written to.
    """
    specs = _specs(artifacts)
    if chosen.location is None:
        if stage == "pipeline":
            raise UsageError(
                "--stage pipeline reads image files, and there are none; give labelled images with "
                "--data."
            )
        rows = {shape: golden_inputs(FORMULA, spec.shape) for shape, spec in specs.items()}
        count = min(len(pixels) for pixels in rows.values())
        _save(rows, folder)
        return Written(tuple(Query(f"pattern {number}") for number in range(count)), {})
    kept: list[int] = []
    rows_of: dict[str, list[NDArray[np.uint8]]] = {shape: [] for shape in specs}
    with open_data(chosen.location, minimum_labels=1) as images:
        _refuse_arrays(images, stage)
        for number, wanted in enumerate(chosen.wanted):
            try:
                data = _read(images, wanted)
                decoded = {shape: spec.apply(data) for shape, spec in specs.items()}
            except ImageError:
                continue
            if stage == "pipeline":
                _save_file(data, folder / FILES / str(len(kept)))
            for shape, pixels in decoded.items():
                rows_of[shape].append(pixels)
            kept.append(number)
    if not kept:
        raise DataError(
            f"Not one of {counted(len(chosen.wanted), 'image')} in {chosen.location} can be read."
        )
    if len(kept) < len(chosen.wanted):
        lost = len(chosen.wanted) - len(kept)
        console.warn(f"{counted(lost, 'image')} could not be read and took no part.")
    _save({shape: np.stack(rows) for shape, rows in rows_of.items()}, folder)
    return Written(
        tuple(chosen.wanted[number].query for number in kept),
        {
            path: tuple(rows[number] for number in kept)
            for path, rows in (chosen.expected or {}).items()
        },
    )


def _shared(answers: Sequence[Sequence[Answer]]) -> list[Answer]:
    """The answers of the first run on images that all runs held out."""
    common = set.intersection(*({_key(answer) for answer in of_run} for of_run in answers))
    return [answer for answer in answers[0] if _key(answer) in common]


def _key(answer: Answer) -> tuple[str, str]:
    return answer.image.name, answer.image.sha256


def _are_the_runs(run: Run, data: Path | None, shared: Sequence[Answer]) -> bool:
    """Whether images are the run's held-out ones, all of them; False where not one of them is.

    Raises:
        DataError: They are not where they should be, or some are there and others not.
    """
    if data is None:
        run.open_images().close()
        return True
    with open_data(data, minimum_labels=1) as images:
        absent = [answer for answer in shared if not _is_there(images, answer)]
    if absent and len(absent) < len(shared):
        raise DataError(
            f"{data} has {len(shared) - len(absent):,} of the "
            f"{counted(len(shared), 'held-out image')} of the run {run.folder}, so that it was "
            f"taken for where the run's images are now; but {len(absent):,} are missing or were "
            f"changed since (such as {absent[0].image.name}). Name a place that has them all, or "
            "one that has none of them, whose images are then taken as labelled ones of their own."
        )
    if absent:
        console.say(
            f"{data} has none of the run's held-out images: they are labelled images of their own."
        )
    return not absent


def _is_there(images: LabelledImages, answer: Answer) -> bool:
    image = images.get(answer.image.name)
    if image is None:
        return False
    try:
        return image_sha256(images.read(image)) == answer.image.sha256
    except ImageError:
        return False


def _warn_of_training(images: LabelledImages, artifacts: Sequence[Artifact]) -> None:
    """Says of each artifact whether it was made with these images, undecodable ones aside."""
    known = []
    for one in images.tested_on():
        with contextlib.suppress(ImageError):
            sha256 = image_sha256(images.read(one))
            known.append(KnownImage(one.name, sha256, one.label, one.patient))
    for artifact in artifacts:
        warn_of_training_images(artifact, known)


def _strangers(artifacts: Sequence[Artifact], shared: Sequence[Answer]) -> bool:
    """Says what is known of artifacts without a run; whether one knows the images."""
    unlisted = [artifact.path.name for artifact in artifacts if not is_known(artifact)]
    if unlisted:
        console.warn(
            f"{unlisted[0]} lies in no run: whether it was trained on these images is not known."
        )
    images = [answer.image for answer in shared]
    return sum(warn_of_training_images(one, images) for one in artifacts if is_known(one)) > 0


def _held_out(
    run: Run,
    location: Path,
    shared: Sequence[Answer],
    answers: Mapping[Path, Sequence[Answer]],
    seed: int,
) -> Chosen:
    patients = {row.image.name: row.image.patient or "" for row in run.split()}
    found = [
        Wanted(Query(a.image.name, a.image.label, patients.get(a.image.name, "")), a.image.sha256)
        for a in shared
    ]
    taken = _by_lot(found, seed)
    expected = {}
    for path, of_run in answers.items():
        by_name = {answer.image.name: tuple(answer.probabilities) for answer in of_run}
        expected[path] = tuple(by_name[wanted.query.name] for wanted in taken)
    return Chosen("held-out", location, tuple(taken), expected)


def _known(chosen: Chosen, runs: Sequence[Run], knowing: bool) -> Chosen:
    """The same images, called what they are where one that is measured was trained on them."""
    refits = sorted({run.folder.name for run in runs if run.is_refit})
    if not refits:
        return replace(chosen, kind="known") if knowing else chosen
    console.warn(
        f"{refits[0]} was trained on all images: right answers are of images that it knows, and "
        "too good. Its card and `edgecell inspect` show those on unseen patients."
    )
    return replace(chosen, kind="known")


def _by_lot(found: Sequence[Wanted], seed: int) -> list[Wanted]:
    if len(found) <= MAX_IMAGES:
        return list(found)
    console.warn(f"{MAX_IMAGES:,} of {counted(len(found), 'image')} are taken, by lot.")
    rows = np.sort(np.random.default_rng(seed).permutation(len(found))[:MAX_IMAGES])
    return [found[row] for row in rows]


def _specs(artifacts: Sequence[Artifact]) -> dict[str, PreprocessSpec]:
    specs: dict[str, PreprocessSpec] = {}
    for artifact in artifacts:
        spec = artifact.manifest.preprocessing
        known = specs.setdefault("x".join(map(str, spec.shape)), spec)
        if known != spec:
            differing = [
                field.name
                for field in fields(spec)
                if getattr(spec, field.name) != getattr(known, field.name)
            ]
            raise UsageError(
                f"{artifact.path} takes images of the size of another artifact and prepares them "
                f"with another {differing[0]}; measure the two one after the other, or export both "
                "alike."
            )
    return specs


def _refuse_arrays(images: LabelledImages, stage: Stage) -> None:
    if stage == "pipeline" and images.in_arrays:
        raise UsageError(
            f"{images.location} holds arrays and no image files, so that there is no pipeline to "
            "measure; leave --stage pipeline out."
        )


def _read(images: LabelledImages, wanted: Wanted) -> StoredImage:
    name = wanted.query.name
    image = images.get(name)
    if image is None:
        raise DataError(
            f"{images.location} has no image {name}; say where the images are with --data."
        )
    data = images.read(image)
    if wanted.sha256 and image_sha256(data) != wanted.sha256:
        raise DataError(
            f"{name} in {images.location} was changed since the run was made; say where the "
            "original images are with --data."
        )
    return data


def _save(rows: Mapping[str, NDArray[np.uint8]], folder: Path) -> None:
    with storage_errors(folder):
        for shape, pixels in rows.items():
            np.save(folder / f"{shape}.npy", pixels)


def _save_file(data: StoredImage, path: Path) -> None:
    assert isinstance(data, bytes)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
