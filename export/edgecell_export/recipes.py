"""Recipes: how an artifact stores its numbers, and how far its answers may be from the source's.

This is the one place where the limits of parity stand.
"""

from dataclasses import dataclass
from typing import Final

from edgecell_runtime.errors import UsageError
from edgecell_runtime.manifest import ParityLimits


@dataclass(frozen=True)
class Recipe:
    """How numbers are stored and computed.

    Attributes:
        name: As in file names and manifests.
        summary: For people.
        limits: What parity allows.
        weight_bits: Of a stored weight: 32 and 16 are floats, 8 and 4 integers.
        activation_bits: Of an activation: 32 is a float, 16 and 8 are integers whose ranges are set
            by calibration images.
    """

    name: str
    summary: str
    limits: ParityLimits
    weight_bits: int = 32
    activation_bits: int = 32

    @property
    def integer_weights(self) -> bool:
        """Whether weights become integers; biases are then corrected over calibration images."""
        return self.weight_bits <= 8

    @property
    def static(self) -> bool:
        """Whether activations become integers with ranges from calibration images."""
        return self.activation_bits < 32


_INT8_LIMITS = ParityLimits(changed_labels=0.01, accuracy_drop=0.005)

RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "float32",
            "32-bit floats, stored and computed",
            ParityLimits(largest_difference=1e-4),
        ),
        Recipe(
            "float16",
            "weights stored as 16-bit floats, computed in 32 bits on most CPUs",
            ParityLimits(largest_difference=1e-2, changed_labels=0.005, accuracy_drop=0.005),
            weight_bits=16,
        ),
        Recipe(
            "weight_only_int8",
            "weights stored as 8-bit integers, computed in 32-bit floats",
            _INT8_LIMITS,
            weight_bits=8,
        ),
        Recipe(
            "weight_only_int4",
            "weights stored as 4-bit integers, computed in 32-bit floats",
            _INT8_LIMITS,
            weight_bits=4,
        ),
        Recipe(
            "dynamic_int8",
            "weights stored as 8-bit integers, activations quantised while running",
            _INT8_LIMITS,
            weight_bits=8,
        ),
        Recipe(
            "static_int8",
            "weights and activations as 8-bit integers, all kernels in integers",
            _INT8_LIMITS,
            weight_bits=8,
            activation_bits=8,
        ),
        Recipe(
            "static_int8_int16",
            "weights as 8-bit, activations as 16-bit integers",
            _INT8_LIMITS,
            weight_bits=8,
            activation_bits=16,
        ),
    )
}

QUANTIZE: Final[dict[str, str]] = {
    "none": "float32",
    "float16": "float16",
    "dynamic": "dynamic_int8",
    "int8": "static_int8",
}
"""The short names of ``--quantize``, with the recipe that each stands for."""


def find_recipe(quantize: str) -> Recipe:
    """The recipe of a short name.

    Raises:
        UsageError: There is none of that name.
    """
    if quantize not in QUANTIZE:
        raise UsageError(
            f"There is no quantisation {quantize!r}; expected one of {', '.join(QUANTIZE)}."
        )
    return RECIPES[QUANTIZE[quantize]]
