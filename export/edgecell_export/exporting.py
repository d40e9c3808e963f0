"""The door: build, open again, compare; only then does a file get its name."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgecell_export.building import ArtifactBuilder
from edgecell_export.card import model_card
from edgecell_export.choices import Loss, Validation, write_validation
from edgecell_export.choosing import Candidate, judge, pick
from edgecell_export.conversion_process import ConversionProcess, ConversionRunner
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import ADVICE, Converter
from edgecell_export.golden_answers import SAMPLE, golden_answers
from edgecell_export.known_images import read_known
from edgecell_export.options import ExportOptions
from edgecell_export.parity import measure_parity, parity_sample, require_parity
from edgecell_export.pixels import PixelFile
from edgecell_export.recipes import RECIPES, Recipe
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.search import find_float_layers
from edgecell_export.source import Answer, Evidence, KnownImage, SourceModel
from edgecell_export.speed import SpeedRatio, measure_by_turns, speed_ratio
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.errors import ArtifactError, EngineError, ExportError, ParityError, UsageError
from edgecell_runtime.files import replacing
from edgecell_runtime.manifest import FloatLayer, Manifest

_TIMED_IMAGES = 64


@dataclass(frozen=True)
class Exported:
    """A written artifact.

    Attributes:
        path: Of the file, or the folder of a SavedModel.
        card: Of its model card.
        manifest: What it says of itself.
        size_bytes: Its size.
    """

    path: Path
    card: Path
    manifest: Manifest
    size_bytes: int


class Exporter:
    """Exports one source model, to as many formats and recipes as asked.

    Converters run in a child process, which ``close`` ends. A SavedModel session computes in
    TensorFlow, everything else in its own engine.

    ::

        with Exporter(source, evidence) as exporter:
            exporter.export(CONVERTERS["tflite"], RECIPES["static_int8"], folder)

    Args:
        source: The trained model.
        evidence: The images that calibration, choices and parity use.
        options: What is asked for beside format and recipe.
        runner: Where converters run, left open at the end; None starts a process for it.
        say: Told what takes time.

    Raises:
        ExportError: There are too few held-out images, or the graph cannot be prepared.
    """

    def __init__(
        self,
        source: SourceModel,
        evidence: Evidence,
        options: ExportOptions = ExportOptions(),  # noqa: B008 - frozen
        runner: ConversionRunner | None = None,
        say: Callable[[str], object] = lambda words: None,  # noqa: ARG005
    ) -> None:
        self._say = say
        spec = options.preprocessing(source.preprocessing)
        source = dataclasses.replace(source, preprocessing=spec)
        self._source, self._evidence, self._options = source, evidence, options
        self._sample: Sequence[Answer] = parity_sample(evidence)
        with contextlib.ExitStack() as stack:  # if this fails, it leaves nothing running
            process = runner or stack.enter_context(ConversionProcess(warm=True))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgecell-"))
            self._folder = Path(folder)
            self._builder = ArtifactBuilder(source, evidence, options, process, self._folder)
            self._owned = stack.pop_all()

    def close(self) -> None:
        """Ends the child process and removes temporary files; again is nothing."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def export(self, converter: Converter, recipe: Recipe, folder: Path) -> Exported:
        """Writes one artifact and its model card; an artifact of that name is replaced.

        Args:
            converter: Of the format.
            recipe: How to store numbers.
            folder: Where to; made if need be.

        Raises:
            UsageError: The format does not have the recipe.
            ExportError: Converting failed, or the result was refused; nothing was written.
            StorageError: There is no space or no permission; nothing was written.
        """
        self._builder.require_offered(converter, recipe)
        self._options.require_fit(recipe)
        return self._write(converter, recipe, folder, self._float_layers(converter, recipe))

    def _write(
        self,
        converter: Converter,
        recipe: Recipe,
        folder: Path,
        float_layers: tuple[FloatLayer, ...],
    ) -> Exported:
        mark = self._options.mark(self._builder.target(converter, recipe))
        target = folder / f"{self._source.name}-{recipe.name}{mark}{converter.suffix}"
        card = target.with_name(f"{target.name}.md")
        with replacing(card) as written_card, replacing(target) as artifact:
            model, manifest = self._builder.build(converter, recipe, artifact, float_layers)
            limits = self._options.limits(recipe)
            with open_classifier(artifact) as classifier:
                parity = measure_parity(classifier, self._evidence, self._sample, limits)
            require_parity(parity)
            parity = dataclasses.replace(parity, loosened=limits != recipe.limits)
            kernels = converter.kernels(model)
            answers = golden_answers(
                kernels,
                manifest,
                self._builder.golden_probabilities,
                self._held_out_pixels,
            )
            manifest = dataclasses.replace(manifest, parity=parity, golden=answers)
            converter.seal(model, manifest, artifact)
            _require_opening(artifact, kernels[0].name)
            size = read_artifact(artifact).size_bytes
            text = model_card(target.name, manifest, converter.operators(model), size)
            written_card.write_text(text, encoding="utf-8")
        return Exported(target, card, manifest, size)

    def choose(self, converter: Converter, folder: Path) -> tuple[Exported, list[Candidate]]:
        """Tries every recipe that a format has, and exports the one to choose.

        Args:
            converter: Of the format.
            folder: Where to; made if need be.

        Returns:
            What was written, and all candidates.

        Raises:
            UsageError: The format has no models of volumes, and this is one.
            ExportError: No recipe keeps the source model's answers.
        """
        self._builder.require_offered(converter, RECIPES["float32"])
        options, trials = self._options, self._folder / f"auto-{converter.format}"
        trials.mkdir(exist_ok=True)
        tried: list[tuple[Candidate, Artifact]] = []
        float_layers: dict[str, tuple[FloatLayer, ...]] = {}
        refused: list[Candidate] = []
        for recipe in (RECIPES[name] for name in converter.recipes):
            self._say(f"    trying {recipe.name} ...")
            path = trials / f"{recipe.name}{converter.suffix}"
            try:
                ExportOptions(end=options.end).require_fit(recipe)
                float_layers[recipe.name] = self._float_layers(converter, recipe)
                self._builder.build(converter, recipe, path, float_layers[recipe.name])
                candidate = judge(
                    recipe.name,
                    read_artifact(path),
                    self._validation,
                    options.limits(recipe),
                    options.max_drop,
                )
            except (ExportError, EngineError, UsageError) as error:
                candidate = Candidate(recipe.name, refused=str(error))
            if candidate.refused:
                refused.append(candidate)
            else:
                tried.append((candidate, read_artifact(path)))
        if not tried:
            raise ParityError(
                f"No recipe of {converter.format} keeps the source model's answers: "
                + " ".join(f"{one.recipe}: {one.refused}" for one in refused)
            )
        picked = pick(
            [one for one, _ in tried], [artifact for _, artifact in tried], self._some_pixels
        )
        choice = next(one for one in picked if one.chosen).recipe
        exported = self._write(converter, RECIPES[choice], folder, float_layers[choice])
        return exported, [*picked, *refused]

    def speed_against_float32(self, converter: Converter, exported: Exported) -> SpeedRatio | None:
        """How many times as fast an artifact is as the same model in float32, with one thread.

        Both answer by turns on this machine. None for float32 itself.

        Raises:
            ExportError: The float32 artifact cannot be made.
        """
        if exported.manifest.recipe == "float32":
            return None
        reference = self._folder / f"reference{converter.suffix}"
        if not reference.exists():
            self._builder.build(converter, RECIPES["float32"], reference)
        with (
            open_classifier(exported.path, threads=1) as one,
            open_classifier(reference, threads=1) as other,
        ):
            times = measure_by_turns([one, other], self._some_pixels)
        return speed_ratio(times[0], times[1])

    def _float_layers(self, converter: Converter, recipe: Recipe) -> tuple[FloatLayer, ...]:
        allowed = self._options.max_drop
        if allowed is None or not recipe.integer_weights:
            return ()

        def trial(layers: frozenset[str]) -> Loss:
            kept = f"{', '.join(sorted(layers))} in float" if layers else "all layers as integers"
            self._say(f"    trying {recipe.name}, {kept} ...")
            path = self._folder / f"trial{converter.suffix}"
            floats = tuple(FloatLayer(name, "on trial") for name in sorted(layers))
            self._builder.build(converter, recipe, path, floats)
            with open_classifier(path) as classifier:
                return self._validation.loss(self._validation.answers(classifier))

        return find_float_layers(self._builder.layer_names, trial, allowed)

    @cached_property
    def _some_pixels(self) -> NDArray[np.uint8]:
        """Training images to take times on; test images are for parity alone."""
        return self._pixels(self._evidence.training[:_TIMED_IMAGES])

    @cached_property
    def _held_out_pixels(self) -> NDArray[np.uint8]:
        """Some images of the parity sample, for comparing kernels."""
        return self._pixels([answer.image for answer in self._sample[:SAMPLE]])

    def _pixels(self, known: Sequence[KnownImage]) -> NDArray[np.uint8]:
        preprocessing, images = self._source.preprocessing, self._evidence.images
        return np.stack([preprocessing.apply(read_known(images, image)) for image in known])

    @cached_property
    def _validation(self) -> Validation:
        pixels = PixelFile(self._folder / "validation", self._source.preprocessing.shape)
        return write_validation(pixels, self._evidence, self._source)


def _require_opening(artifact: Path, engine: str) -> None:
    """Opens the final file as a device does, where an engine proves itself by its golden answers.

    Raises:
        ExportError: The engine that gave the answers is not accepted.
    """
    try:
        with open_classifier(artifact) as classifier:
            if classifier.engine != engine:
                raise EngineError(f"{classifier.engine} decides in place of {engine}.")
    except (ArtifactError, EngineError) as error:
        raise ExportError(
            f"A device would not open the artifact: {error} No file was written. {ADVICE}"
        ) from error


def converters_for(name: str) -> list[Converter]:
    """The converters that ``--format`` names: one, or all.

    Raises:
        UsageError: There is none of that name.
    """
    if name == "all":
        return list(CONVERTERS.values())
    if name not in CONVERTERS:
        raise UsageError(
            f"There is no format {name!r}; expected one of {', '.join(CONVERTERS)} or all."
        )
    return [CONVERTERS[name]]
