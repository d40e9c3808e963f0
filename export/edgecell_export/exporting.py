"""The door: prepare, convert, seal, open again, compare; only then does a file get its name."""

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgecell_export.card import model_card
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion, Converter
from edgecell_export.keras_chain import read_chain
from edgecell_export.known_images import write_calibration
from edgecell_export.parity import measure_parity, parity_sample, require_parity
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import IMAGES, Chain, for_integers, prepare
from edgecell_export.recipes import Recipe
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.source import Answer, Evidence, SourceModel, source_probabilities
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import replacing
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.manifest import Calibration, Format, Golden, Manifest
from edgecell_runtime.signature import Signature


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

    What the exports share - the prepared graph, the parity sample, the calibration images - is made
    once. A SavedModel session computes in TensorFlow, everything else in its own engine.

    Args:
        source: The trained model.
        evidence: The images that calibration and parity use.

    Raises:
        ExportError: There are too few held-out images, or the graph cannot be prepared.
    """

    def __init__(self, source: SourceModel, evidence: Evidence) -> None:
        self._source = source
        self._evidence = evidence
        self._sample: Sequence[Answer] = parity_sample(evidence)
        self._folder = tempfile.TemporaryDirectory(prefix="edgecell-")
        self._chain: Chain = prepare(read_chain(source.model), source.head)

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
        if recipe.name not in converter.recipes:
            raise UsageError(
                f"{converter.format} has no {recipe.name}: {converter.lacking[recipe.name]}."
            )
        chain, pixels, calibration = self._prepared(recipe)
        target = folder / f"{self._source.name}-{recipe.name}{converter.suffix}"
        card = target.with_name(f"{target.name}.md")
        with replacing(card) as written_card, replacing(target) as artifact:
            model = artifact.with_name(f"model{converter.suffix}")
            converter.convert(Conversion(chain, recipe, pixels), model)
            converter.check(model, recipe)
            manifest = dataclasses.replace(
                self._manifest(converter.format, recipe, converter.signature(model)),
                calibration=calibration,
                target=converter.targets.get(recipe.name, "any"),
            )
            converter.seal(model, manifest, artifact)
            with open_classifier(artifact) as classifier:
                parity = measure_parity(classifier, self._evidence, self._sample, recipe.limits)
            require_parity(parity)
            manifest = dataclasses.replace(manifest, parity=parity)
            converter.seal(model, manifest, artifact)
            size = read_artifact(artifact).size_bytes
            text = model_card(target.name, manifest, converter.operators(model), size)
            written_card.write_text(text, encoding="utf-8")
        return Exported(target, card, manifest, size)

    def _prepared(self, recipe: Recipe) -> tuple[Chain, PixelFile | None, Calibration | None]:
        """The chain for a recipe, with the calibration images that it took."""
        if not recipe.integer_weights:
            return self._chain, None, None
        pixels, calibration = self._calibration
        return self._integer_chain, pixels, calibration

    @cached_property
    def _integer_chain(self) -> Chain:
        return for_integers(self._chain, self._calibration[0].first(IMAGES))

    @cached_property
    def _calibration(self) -> tuple[PixelFile, Calibration]:
        pixels = PixelFile(
            Path(self._folder.name) / "calibration", self._source.preprocessing.shape
        )
        return pixels, write_calibration(
            pixels, self._evidence, self._source.preprocessing, self._source.labels
        )

    def _manifest(self, form: Format, recipe: Recipe, signature: Signature) -> Manifest:
        source = self._source
        return Manifest(
            format=form,
            recipe=recipe.name,
            labels=source.labels,
            signature=signature,
            preprocessing=source.preprocessing,
            head=source.head,
            source=source.source,
            positive_label=source.positive_label,
            temperature=source.temperature,
            threshold=source.threshold,
            threshold_rule=source.threshold_rule,
            golden=self._golden,
            evaluation=source.evaluation,
        )

    @cached_property
    def _golden(self) -> Golden:
        source = self._source
        answers = source_probabilities(
            source.model, golden_inputs(source.preprocessing.shape), source.head, source.labels
        )
        return Golden(FORMULA, tuple(tuple(float(p) for p in row) for row in answers))


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
