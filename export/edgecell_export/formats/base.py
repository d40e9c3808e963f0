"""What a format has to offer to be exported to."""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgecell_export.operators import Operators
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import Chain
from edgecell_export.recipes import Recipe
from edgecell_runtime.manifest import Format, Manifest
from edgecell_runtime.signature import Signature

Target = Literal["any", "x86", "x86-vnni", "arm64"]
"""The processor family that an artifact is made for; ``x86`` is one without VNNI."""

RangeRule = Literal["min-max", "percentile", "mse"]
"""How a range follows from the values that calibration saw."""


@dataclass(frozen=True)
class Conversion:
    """What a converter is given.

    Attributes:
        chain: Prepared: pixels 0-255 to logits.
        recipe: How to store numbers.
        calibration: Images that set ranges, for a recipe of integers, else None.
        target: The processor family to make it for.
        ranges: How ranges follow from calibration.
        float_layers: Names of layers (see ``layer_names``) that stay in float.
        batch: A fixed batch size, 0 for a symbolic one; None takes what suits the format.
    """

    chain: Chain
    recipe: Recipe
    calibration: PixelFile | None
    target: Target = "any"
    ranges: RangeRule = "min-max"
    float_layers: frozenset[str] = frozenset()
    batch: int | None = None


class Converter(abc.ABC):
    """Writes one format.

    Attributes:
        format: Its name.
        suffix: Of its files.
        recipes: Names of the recipes that it has.
        lacking: For each other recipe the reason why not.
        targets: The processor family that a recipe is made for, where not for any.
    """

    format: ClassVar[Format]
    suffix: ClassVar[str]
    recipes: ClassVar[tuple[str, ...]]
    lacking: ClassVar[dict[str, str]]
    targets: ClassVar[dict[str, str]] = {}

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
    def operators(self, path: Path) -> Operators:
        """What a written model computes."""

    @abc.abstractmethod
    def check(self, path: Path, recipe: Recipe) -> None:
        """Opens a written model and holds it against what its recipe promises.

        Raises:
            RecipeError: It is something else.
        """

    @abc.abstractmethod
    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        """Writes the artifact: a copy of the model that carries the manifest."""
