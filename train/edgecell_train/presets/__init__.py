"""Named models with their training recipes, one a file."""

from edgecell_runtime.errors import UsageError
from edgecell_train.presets.base import Preset
from edgecell_train.presets.malaria_cnn import MALARIA_CNN

__all__ = ["PRESETS", "Preset", "find_preset", "register"]

PRESETS: dict[str, Preset] = {}


def register(preset: Preset) -> None:
    """Adds a preset under its name.

    Raises:
        ValueError: The name is taken.
    """
    if preset.name in PRESETS:
        raise ValueError(f"a preset named {preset.name!r} is registered already.")
    PRESETS[preset.name] = preset


register(MALARIA_CNN)


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UsageError: There is none.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
