"""From a source model to an artifact that nobody has judged yet: prepare, convert, check, seal."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from edgecell_export.conversion_process import ConversionRunner
from edgecell_export.formats.base import ADVICE, Conversion, Converter
from edgecell_export.keras_build import layer_names
from edgecell_export.keras_graph import read_graph
from edgecell_export.kinds import RangeRule, Target
from edgecell_export.known_images import write_calibration
from edgecell_export.options import ExportOptions
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import (
    IMAGES,
    EndInProbabilities,
    Graph,
    for_floats,
    for_integers,
    prepare,
)
from edgecell_export.recipes import Recipe
from edgecell_export.source import Evidence, SourceModel, source_outputs, source_probabilities
from edgecell_runtime.errors import (
    ConversionError,
    EngineError,
    PreparationError,
    RecipeError,
    UsageError,
)
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Calibration, FloatLayer, Manifest
from edgecell_runtime.signature import Signature

_PROBES = "ramps-1"
"""The formula whose inputs use the whole range of pixels."""

_DECIMALS = 6
"""Of a golden probability; engines may be a thousandth apart."""

_MISREAD = 0.02
"""More than rounding makes of a probability, in models that compute in 16 bits too."""


class ArtifactBuilder:
    """Makes artifacts of one source model.

    What they share - the prepared graph, the calibration images, the golden answers - is made once.

    Args:
        source: The trained model.
        evidence: The images that calibration takes.
        options: What was asked for.
        runner: Where converters run.
        folder: For temporary files.

    Raises:
        PreparationError: The model cannot be prepared.
    """

    def __init__(
        self,
        source: SourceModel,
        evidence: Evidence,
        options: ExportOptions,
        runner: ConversionRunner,
        folder: Path,
    ) -> None:
        self._source, self._evidence, self._options = source, evidence, options
        self._runner, self._folder = runner, folder
        read = read_graph(source.model)
        _require_same_answers(read, source)
        self._graph: Graph = prepare(read, source.head)

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers with weights, in the order of computation."""
        return layer_names(self._graph)

    def build(
        self,
        converter: Converter,
        recipe: Recipe,
        artifact: Path,
        float_layers: Sequence[FloatLayer] = (),
    ) -> tuple[Path, Manifest]:
        """Writes a sealed artifact, and the model without a manifest beside it.

        It holds no golden answers yet, since its engine has not been asked.

        Args:
            converter: Of the format.
            recipe: How to store numbers.
            artifact: Where to.
            float_layers: Layers that stay in float.

        Returns:
            The path of the bare model, and the manifest.

        Raises:
            UsageError: The format does not have the recipe, or not with these options.
            ExportError: Converting failed, or the result is not what the recipe promises.
        """
        self.require_offered(converter, recipe)
        conversion = self._conversion(converter, recipe, frozenset(f.name for f in float_layers))
        model = artifact.with_name(f"model{converter.suffix}")
        self._runner.run(converter.format, conversion, model)
        signature = _checked(converter, model, conversion)
        source, ends_in_head = self._source, conversion.end == "probabilities"
        manifest = Manifest(
            format=converter.format,
            recipe=recipe.name,
            labels=source.labels,
            signature=signature,
            preprocessing=source.preprocessing,
            head=Head("probabilities") if ends_in_head else source.head,
            source=source.source,
            positive_label=source.positive_label,
            temperature=1.0 if ends_in_head else source.temperature,
            threshold=source.threshold,
            threshold_rule=source.threshold_rule,
            target=conversion.target,
            calibration=self._described_calibration(recipe),
            evaluation=source.evaluation,
            float_layers=tuple(float_layers),
        )
        converter.seal(model, manifest, artifact)
        return model, manifest

    def target(self, converter: Converter, recipe: Recipe) -> Target:
        """What a recipe is made for: floats, and formats without targets, run anywhere."""
        asked = self._options.target
        return asked if recipe.integer_weights and converter.has_targets else "any"

    def require_offered(self, converter: Converter, recipe: Recipe) -> None:
        """Refuses a recipe that a format does not have, for such a model.

        Raises:
            UsageError: With the reason.
        """
        volumes = self._source.preprocessing.depth is not None
        if reason := converter.lacks(recipe, volumes=volumes):
            raise UsageError(reason)

    def _conversion(
        self, converter: Converter, recipe: Recipe, float_layers: frozenset[str]
    ) -> Conversion:
        options = self._options
        target = self.target(converter, recipe)
        graph, pixels = self._ended, None
        if recipe.integer_weights:
            pixels = self._calibration[0]
            graph = for_integers(
                graph,
                pixels.first(IMAGES),
                largest=converter.largest_weight(recipe, target),
                integer_activations=recipe.static,
                float_layers=float_layers,
            )
        else:
            graph = for_floats(graph)
        return Conversion(
            graph=graph,
            recipe=recipe,
            calibration=pixels,
            target=target,
            ranges=self._ranges(recipe),
            float_layers=float_layers,
            batch=options.batch,
            end=options.end,
        )

    @cached_property
    def _ended(self) -> Graph:
        """The prepared graph with the end that was asked for."""
        if self._options.end == "logits":
            return self._graph
        source = self._source
        head = EndInProbabilities(source.head, source.labels, source.temperature)
        return self._graph.with_last(head(self._graph.last))

    @cached_property
    def _calibration(self) -> tuple[PixelFile, Calibration]:
        source, options = self._source, self._options
        pixels = PixelFile(self._folder / "calibration", source.preprocessing.shape)
        calibration = write_calibration(
            pixels,
            self._evidence,
            source.preprocessing,
            source.labels,
            options.calibration_images,
        )
        return pixels, calibration

    def _described_calibration(self, recipe: Recipe) -> Calibration | None:
        if not recipe.integer_weights:
            return None
        return replace(self._calibration[1], ranges=self._ranges(recipe))

    def _ranges(self, recipe: Recipe) -> RangeRule:
        """The rule that was asked for, where there are 8-bit ranges to set; ``auto`` tries all."""
        return self._options.ranges if recipe.activation_bits == 8 else "min-max"

    @cached_property
    def golden_probabilities(self) -> tuple[tuple[float, ...], ...]:
        """The source model's answers to the golden inputs, by input, then by label."""
        source = self._source
        inputs = golden_inputs(FORMULA, source.preprocessing.shape)
        answers = source_probabilities(
            source.model, inputs, source.head, source.labels, source.temperature
        )
        return tuple(tuple(round(p, _DECIMALS) for p in row) for row in answers.tolist())


def _checked(converter: Converter, model: Path, conversion: Conversion) -> Signature:
    """Opens a written model in its engine and holds it against its recipe; gives its signature."""
    try:
        converter.check(model, conversion)
        return converter.signature(model)
    except RecipeError as error:
        raise RecipeError(f"{error} No file was written. {ADVICE}") from error
    except (EngineError, ConversionError) as error:
        raise ConversionError(
            f"The engine does not run what was converted to {converter.format}. {error} No file "
            f"was written. {ADVICE}"
        ) from error


def _require_same_answers(graph: Graph, source: SourceModel) -> None:
    """Holds the graph as it was read against Keras, before anything slow is made of it.

    Raises:
        PreparationError: The model does not fit its preprocessing or its labels, or was misread.
    """
    shape, labels = source.preprocessing.shape, source.labels
    if graph.input_shape != shape:
        raise PreparationError(
            f"The model takes images of {graph.input_shape}; its preprocessing gives {shape}. "
            "Expected the same height, width and channels."
        )
    pixels = golden_inputs(_PROBES, shape)
    expected = source_outputs(source.model, pixels)
    # One at a time: of a large volume, the values between the layers take a gigabyte.
    found = np.concatenate([graph.evaluate(image[None].astype(float)) for image in pixels])
    outputs = source.head.output_count(labels)
    if expected.shape != (len(pixels), outputs):
        raise PreparationError(
            f"The model gives answers of shape {expected.shape[1:]}; its head {source.head.kind} "
            f"and {len(labels)} labels need {outputs} values an image."
        )
    difference = float(np.abs(found - expected).max())
    if not difference <= _MISREAD:
        raise PreparationError(
            f"The model's answers on test patterns are {difference:.1e} away from those of its "
            "layers, computed one by one. It holds a layer that edgecell reads wrongly, or "
            "computes in few bits; expected a float32 model. Please report it."
        )
