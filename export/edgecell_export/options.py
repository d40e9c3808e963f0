"""What can be asked of an export, beside its format and recipe."""

import dataclasses
from dataclasses import dataclass
from typing import Final

from edgecell_export.kinds import GraphEnd, Masking, RangeRule, Target
from edgecell_export.known_images import CALIBRATION_COUNT, MINIMUM_CALIBRATION
from edgecell_export.recipes import Recipe
from edgecell_runtime.errors import UsageError
from edgecell_runtime.manifest import ParityLimits
from edgecell_runtime.preprocess import PreprocessSpec

LARGEST_TOLERANCE: Final = 5.0


@dataclass(frozen=True)
class ExportOptions:
    """What an export is made for.

    Attributes:
        target: The processor family.
        ranges: How ranges follow from calibration images.
        calibration_images: How many to take, as far as there are so many.
        batch: A fixed batch size, 0 for a symbolic one; None takes what suits the format.
        end: Whether the graph ends in logits or, head and temperature included, in probabilities.
        max_drop: Points of sensitivity or AUC times 100 that a recipe of integers may lose on
            validation patients; layers stay in float for it. None sets no such limit.
        masking: What the artifact paints with the background before it looks; None for nothing.
        tolerance: Factor that widens every limit of parity; above 1 the artifact is marked.
    """

    target: Target = "any"
    ranges: RangeRule = "min-max"
    calibration_images: int = CALIBRATION_COUNT
    batch: int | None = None
    end: GraphEnd = "logits"
    max_drop: float | None = None
    masking: Masking | None = None
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.tolerance <= LARGEST_TOLERANCE:
            raise UsageError(
                f"--tolerance {self.tolerance:g} is no factor between 1 and "
                f"{LARGEST_TOLERANCE:g}; it widens every limit of parity by it."
            )
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError(
                f"--max-drop {self.max_drop:g} is out of range; expected points from 0 to 100, "
                "such as 0.3."
            )
        if self.batch is not None and not 0 <= self.batch <= 4096:
            raise UsageError(
                f"--batch {self.batch} is out of range; expected 1 to 4096 images, or 0 for a "
                "batch size that is open."
            )
        if self.calibration_images < MINIMUM_CALIBRATION:
            raise UsageError(
                f"--calibration-images {self.calibration_images} is too few; integers need at "
                f"least {MINIMUM_CALIBRATION} to set their ranges."
            )

    def limits(self, recipe: Recipe) -> ParityLimits:
        """A recipe's limits, widened by the tolerance."""
        own = recipe.limits
        if self.tolerance == 1:
            return own
        values = (own.largest_difference, own.changed_labels, own.accuracy_drop)
        wide = [None if value is None else value * self.tolerance for value in values]
        return ParityLimits(*wide)

    def require_fit(self, recipe: Recipe) -> None:
        """Refuses what a recipe has no use for.

        Raises:
            UsageError: It names the option.
        """
        if self.max_drop is not None and not recipe.integer_weights:
            raise UsageError(
                f"--max-drop is for recipes of integers; {recipe.name} has no layer to leave in "
                "float. Leave it out, or take --recipe static_int8."
            )
        if self.ranges != "min-max" and not recipe.static:
            raise UsageError(
                f"--ranges {self.ranges} is for static recipes; {recipe.name} sets no ranges. "
                "Leave it out, or take --recipe static_int8."
            )
        if not recipe.integer_weights and (self.target, self.calibration_images) != (
            "any",
            CALIBRATION_COUNT,
        ):
            raise UsageError(
                f"--target and --calibration-images are for recipes of integers; {recipe.name} "
                "runs anywhere and takes no images. Leave them out."
            )
        if self.ranges != "min-max" and recipe.activation_bits == 16:
            raise UsageError(
                f"--ranges {self.ranges} weighs clipping against steps of 8 bits; {recipe.name} "
                "has 16. Leave it out."
            )
        if self.end == "probabilities" and recipe.static:
            raise UsageError(
                f"{recipe.name} ends in logits: as integers, probabilities would have steps of "
                "1/256. Leave --head probabilities out, or take another recipe."
            )

    def preprocessing(self, spec: PreprocessSpec) -> PreprocessSpec:
        """A model's own with the masking that was asked for, which parity then judges.

        Raises:
            UsageError: It takes volumes, or images that are too large for masking.
        """
        if self.masking is None:
            return spec
        try:
            return dataclasses.replace(spec, masking=self.masking)
        except ValueError as error:
            raise UsageError(
                f"--masking {self.masking} does not fit this model: {error} Leave it out."
            ) from error

    def mark(self, target: Target) -> str:
        """What a file's name says of options that make another file of the same recipe.

        Args:
            target: What the file was made for; formats without targets have ``any``.
        """
        parts = [
            "" if target == "any" else target,
            "" if self.ranges == "min-max" else self.ranges,
            ""
            if self.calibration_images == CALIBRATION_COUNT
            else f"calibration{self.calibration_images}",
            "" if self.max_drop is None else f"drop{self.max_drop:g}",
            "" if self.batch is None else f"batch{self.batch}",
            "" if self.end == "logits" else self.end,
            "" if self.masking is None else "masking",
            "loosened" if self.tolerance > 1 else "",
        ]
        return "".join(f"-{part}" for part in parts if part)
