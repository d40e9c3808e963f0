"""The artifacts of a run, which of them is taken where none is named, and opening any of them."""

import contextlib
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell_export.output_capture import converter_output
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bundled import bundled_file, bundled_names
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import SUFFIXES
from edgecell_runtime.errors import ArtifactError, RunError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.threads import allowed_cpus
from edgecell_train.runs import DEFAULT_RUNS, LATEST, RECORD, Run, find_run

DEFAULT_MODEL: Final = "cell-small"
"""The best of the bundled models, which decides where there is no run."""

_ELSE: Final = "--model ARTIFACT, or a bundled model: --model cell-small"

PREFERENCE: Final = (
    ("tflite", "float32"),
    ("onnx", "float32"),
    ("tflite", "static_int8"),
    ("onnx", "static_int8"),
)
"""Formats and recipes in the order in which they are taken; any other comes after them."""


def run_artifacts(run: Run) -> list[Path]:
    """The artifacts among a run's exports, by name; none is opened."""
    if not run.exports.is_dir():
        return []
    return sorted(
        path
        for path in run.exports.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".")
    )


def artifact_path(path: Path) -> Path:
    """The file of an artifact that a path names: it, or the bundled model of that name.

    Raises:
        ArtifactError: It is a run, or a plain name and neither.
    """
    with contextlib.suppress(OSError):  # where the folder may not be looked into
        if (path / RECORD).is_file():
            raise _not_a_run(path)
        if path.exists():
            return path
    if path.suffix or path.name != str(path):
        return path
    if path.name not in bundled_names():
        raise ArtifactError(
            f"There is no artifact {path}; expected a path, or a bundled model: "
            f"{', '.join(bundled_names())}."
        )
    return bundled_file(path.name)


def _not_a_run(folder: Path) -> ArtifactError:
    names = ", ".join(one.name for one in run_artifacts(find_run(folder)))
    expected = f" of its exports folder: {names}." if names else ": run `edgecell export` first."
    return ArtifactError(f"{folder} is a run; expected an artifact{expected}")


def default_artifact() -> Artifact:
    """What is taken where none is named: of the latest run, or bundled where there is none.

    Raises:
        RunError: The latest run is damaged, or has no usable artifact.
    """
    latest = DEFAULT_RUNS / LATEST
    if latest.exists() or latest.is_symlink():
        artifact = latest_artifact()
        console.say(f"Model: {artifact.path} (name another with --model)")
        return artifact
    others = ", ".join(name for name in bundled_names() if name != DEFAULT_MODEL)
    console.say(
        f"Model: {DEFAULT_MODEL}, bundled with edgecell, as there is no {latest} here: malaria "
        "parasites in single red blood cells, for research only (others with --model: "
        f"{others}, or a file)"
    )
    return read_artifact(bundled_file(DEFAULT_MODEL))


def latest_artifact() -> Artifact:
    """The preferred artifact of the latest run; damaged ones are named and passed over.

    Raises:
        RunError: It is damaged, or has no usable artifact.
    """
    try:
        run = find_run(None)
    except RunError as error:
        raise RunError(f"No artifact is named ({_ELSE}). {error}") from error
    best: Artifact | None = None
    for path in run_artifacts(run):
        try:
            artifact = read_artifact(path)
        except ArtifactError as error:
            console.skipped(str(error))
            continue
        if best is None or _rank(artifact.manifest) < _rank(best.manifest):
            best = artifact
    if best is None:
        raise RunError(
            f"The latest run, {run.folder}, has no usable artifact; run `edgecell export` first, "
            f"or name one ({_ELSE})."
        )
    return best


def _rank(manifest: Manifest) -> int:
    kind = (manifest.format, manifest.recipe)
    return PREFERENCE.index(kind) if kind in PREFERENCE else len(PREFERENCE)


def open_artifact(artifact: Artifact, threads: int | None, images: int | None = None) -> Classifier:
    """Opens an artifact for many images; TensorFlow is imported for a SavedModel only.

    Args:
        artifact: As it was read.
        threads: For the engine; None opens as many sessions of one thread as this process may use
            CPUs, which classifies the most images a second.
        images: How many there will be, where that is known: no more sessions are opened.

    Raises:
        EngineError: The engine refuses it.
        MissingPartError: The engine's library is not installed.
    """
    if artifact.manifest.source.drawn:
        console.warn(
            f"{artifact.path.name} was trained on drawn cells; its answers say nothing about real "
            "blood smears."
        )
    if artifact.manifest.loosened:
        console.warn(
            f"{artifact.path.name} was exported with a widened limit of parity: its answers may "
            "differ from its source's by more than its recipe allows."
        )
    if artifact.format == "savedmodel":
        from edgecell_export.savedmodel_session import open_classifier

        return open_classifier(artifact.path, threads=threads)
    with converter_output():  # LiteRT tells of its kernels when it opens a model
        if threads is not None or images == 1:
            return Classifier.of_artifact(artifact, threads=threads)
        cpus = allowed_cpus()
        sessions = cpus if images is None else min(images, cpus)
        return Classifier.of_artifact(artifact, threads=cpus // sessions, sessions=sessions)
