"""What a format has to offer to be exported to."""

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.kinds import GraphEnd, RangeRule, Target
from edgecell_export.operators import Operators
from edgecell_export.output_capture import converter_output
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import Graph
from edgecell_export.recipes import Recipe
from edgecell_runtime.engines import engine_for
from edgecell_runtime.manifest import Format, Manifest
from edgecell_runtime.signature import Signature

ADVICE: Final = "Convert to another format or recipe, or report this."


def lacks_operators(form: str, names: Iterable[str]) -> str:
    """Says that a format has nothing for what a layer computes."""
    return (
        f"{form} has no operator {', '.join(names)}, which a layer of this model needs. Build the "
        "model of other layers, or export a SavedModel."
    )


@dataclass(frozen=True)
class Conversion:
    """What a converter is given.

    Attributes:
        graph: Prepared: pixels 0-255 to logits.
        recipe: How to store numbers.
        calibration: Images that set ranges, for a recipe of integers, else None.
        target: The processor family to make it for.
        ranges: How ranges follow from calibration.
        float_layers: Names of layers (see ``layer_names``) that stay in float.
        batch: A fixed batch size, 0 for a symbolic one; None takes what suits the format.
        end: What the graph answers; its output is called so.
    """

    graph: Graph
    recipe: Recipe
    calibration: PixelFile | None
    target: Target = "any"
    ranges: RangeRule = "min-max"
    float_layers: frozenset[str] = frozenset()
    batch: int | None = None
    end: GraphEnd = "logits"


@dataclass(frozen=True)
class Kernels:
    """A set of kernels with which a format's engine can compute a model.

    Attributes:
        name: As the engine calls it.
        answers: Opens the model with them and one thread: batches as the graph takes them, to the
            raw outputs (n, outputs) of each; an ``EngineError`` where they do not run it.
        slow: Whether they are written to be right and not to be quick.
    """

    name: str
    answers: Callable[[Sequence[NDArray[np.generic]]], list[NDArray[np.generic]]]
    slow: bool = False


def engine_kernels(form: Format, model: bytes) -> Kernels:
    """What the engine for a format takes by itself."""
    engine = engine_for(form)

    def answers(batches: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        with converter_output(), engine.open(model, 1) as session:
            return [session.run((batch,))[0].copy() for batch in batches]

    return Kernels(engine.name, answers)


class Converter(abc.ABC):
    """Writes one format.

    Attributes:
        format: Its name.
        suffix: Of its files.
        recipes: Names of the recipes that it has.
        lacking: For each other recipe the reason why not.
        has_targets: Whether a recipe of integers differs by processor family.
        lacking_volumes: Why it has no models of volumes; empty where it has.
    """

    format: ClassVar[Format]
    suffix: ClassVar[str]
    recipes: ClassVar[tuple[str, ...]]
    lacking: ClassVar[dict[str, str]]
    has_targets: ClassVar[bool] = False
    lacking_volumes: ClassVar[str] = ""

    def lacks(self, recipe: Recipe, *, volumes: bool) -> str:
        """Why it does not have a recipe, in a sentence or two; empty where it has.

        Args:
            recipe: How to store numbers.
            volumes: Whether the model takes volumes.
        """
        if recipe.name not in self.recipes:
            return f"{self.format} has no {recipe.name}: {self.lacking[recipe.name]}."
        if volumes and self.lacking_volumes:
            return (
                f"{self.format} has no models of volumes: {self.lacking_volumes}. Export the "
                "model to ONNX or as a SavedModel."
            )
        if volumes and recipe.integer_weights:
            return (
                f"{self.format} has no {recipe.name} for volumes: layers are stored as integers in "
                "two dimensions only. Export the model as float32."
            )
        return ""

    def largest_weight(self, recipe: Recipe, target: Target) -> int:  # noqa: ARG002
        """Steps of the largest weight of a channel, in a recipe of integers."""
        return int(2 ** (recipe.weight_bits - 1) - 1)

    @abc.abstractmethod
    def convert(self, conversion: Conversion, path: Path) -> None:
        """Writes the model, without a manifest yet.

        Raises:
            ConversionError: The converter failed.
        """

    @abc.abstractmethod
    def signature(self, path: Path) -> Signature:
        """Inputs and outputs of a written model, quantisation included."""

    @abc.abstractmethod
    def kernels(self, path: Path) -> list[Kernels]:
        """How a written model can be computed: the kernels that its engine takes by itself first.

        The others show by how much a right answer may differ.
        """

    @abc.abstractmethod
    def operators(self, path: Path) -> Operators:
        """What a written model computes."""

    @abc.abstractmethod
    def check(self, path: Path, conversion: Conversion) -> None:
        """Opens a written model and holds it against what its recipe promises.

        Raises:
            RecipeError: It is something else.
        """

    @abc.abstractmethod
    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        """Writes the artifact: a copy of the model that carries the manifest."""
