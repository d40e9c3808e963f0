"""Measures one artifact in a process of its own: load time, latency, memory, right answers.

A job comes in and a result goes out as JSON, so that the measuring process holds nothing but the
runtime, one engine and one model.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import metrics
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_runtime.measure import (
    BenchmarkResult,
    LatencyStats,
    MeasurementPlan,
    measure_latency,
    peak_memory_bytes,
)
from edgecell_runtime.stored_images import StoredImage, image_sha256

OpenImages = Callable[[Path], LabelledImages]
"""Opens a set of labelled images of one class or more."""


@dataclass(frozen=True)
class HeldOutImage:
    """A labelled image to score an artifact on.

    Attributes:
        name: In its set.
        label: Its class.
        sha256: See ``image_sha256``; empty where any image will do.
    """

    name: str
    label: str
    sha256: str = ""


@dataclass(frozen=True)
class BenchmarkJob:
    """What to measure.

    Attributes:
        artifact: Path of the artifact.
        pixels: Path of a ``.npy`` file, uint8 (n, height, width, channels), that latency is
            measured on, one after another.
        data: Path of a set of labelled images; empty where there is none.
        held_out: The images of the set to score.
        threads: For the engine; None takes the CPUs that this process may use.
        plan: How long to measure.
    """

    artifact: str
    pixels: str
    data: str = ""
    held_out: tuple[HeldOutImage, ...] = ()
    threads: int | None = None
    plan: MeasurementPlan = field(default_factory=MeasurementPlan)


@dataclass(frozen=True)
class _Scores:
    images_per_second: float
    n: int
    skipped: int
    accuracy: float
    sensitivity: float | None
    specificity: float | None
    auc: float | None


def _open_images(path: Path) -> LabelledImages:
    return open_labelled(path, minimum_labels=1)


def run_benchmark(
    job: BenchmarkJob,
    open_classifier: Callable[[Path, int | None], Classifier],
    open_images: OpenImages = _open_images,
) -> BenchmarkResult:
    """Measures an artifact in this process.

    Args:
        job: What to measure.
        open_classifier: Opens an artifact with a number of threads.
        open_images: Opens ``job.data``; what is given may know more kinds of sets than the runtime.

    Raises:
        ArtifactError: The artifact is missing, damaged or none.
        EngineError: Its engine failed.
        DataError: A held-out image is gone, or is another file than it was.
    """
    path = Path(job.artifact)
    pixels: NDArray[np.uint8] = np.load(job.pixels, allow_pickle=False)
    began = time.perf_counter()
    classifier = open_classifier(path, job.threads)
    load_ms = (time.perf_counter() - began) * 1e3
    with classifier:
        count = len(pixels)
        durations = measure_latency(
            lambda query: classifier.logits(pixels[query % count][None]), plan=job.plan
        )
        peak = peak_memory_bytes()  # before any image file is opened
        scores = _score(classifier, job, open_images) if job.held_out else None
    return BenchmarkResult(
        artifact=path.name,
        format=classifier.manifest.format,
        recipe=classifier.manifest.recipe,
        loosened=classifier.manifest.loosened,
        engine=classifier.engine,
        threads=classifier.threads,
        size_bytes=read_artifact(path).size_bytes,
        load_ms=load_ms,
        latency=LatencyStats.from_nanoseconds(durations),
        images_per_second=scores.images_per_second if scores else None,
        peak_memory_bytes=peak,
        n=scores.n if scores else 0,
        accuracy=scores.accuracy if scores else None,
        sensitivity=scores.sensitivity if scores else None,
        specificity=scores.specificity if scores else None,
        auc=scores.auc if scores else None,
        skipped=scores.skipped if scores else 0,
    )


def _score(classifier: Classifier, job: BenchmarkJob, open_images: OpenImages) -> _Scores:
    """Classifies every held-out image, from its file on."""
    truth, rows, skipped = [], [], 0
    labels = classifier.labels
    with open_images(Path(job.data)) as images:
        began = time.perf_counter()
        for item in job.held_out:
            try:
                prediction = classifier.predict(_read(images, item))
            except ImageError:
                skipped += 1
                continue
            truth.append(labels.index(item.label))
            rows.append([prediction.probabilities[label] for label in labels])
        seconds = time.perf_counter() - began
    if not rows:
        raise DataError(f"Not one of {len(job.held_out)} images in {job.data} can be read.")
    true, probabilities = np.array(truth), np.array(rows)
    accuracy = metrics.accuracy(true, probabilities.argmax(axis=1))
    rate = len(rows) / seconds
    positive = classifier.manifest.positive_label
    if positive is None:
        return _Scores(rate, len(rows), skipped, accuracy, None, None, None)
    column = labels.index(positive)
    score, is_positive = probabilities[:, column], true == column
    counts = metrics.count(is_positive, score >= classifier.manifest.threshold)
    return _Scores(
        rate,
        len(rows),
        skipped,
        accuracy,
        metrics.sensitivity(counts),
        metrics.specificity(counts),
        metrics.rank_auc(is_positive, score),
    )


def _read(images: LabelledImages, item: HeldOutImage) -> StoredImage:
    image = images.get(item.name)
    if image is None:
        raise DataError(
            f"{images.location} has no image {item.name}; say where the images are with --data."
        )
    data = images.read(image)
    if item.sha256 and image_sha256(data) != item.sha256:
        raise DataError(
            f"{item.name} in {images.location} was changed since the run was made; say where the "
            "original images are with --data."
        )
    return data
