"""Named models with their training recipes, one a file."""

from edgecell_runtime.errors import UsageError
from edgecell_train.presets.base import Preset
from edgecell_train.presets.cell import CELL_MICRO, CELL_NANO, CELL_SMALL
from edgecell_train.presets.cnn_3d import CNN_3D
from edgecell_train.presets.cnn_128 import CNN_128
from edgecell_train.presets.cnn_128_regularised import CNN_128_REGULARISED
from edgecell_train.presets.logistic import LOGISTIC
from edgecell_train.presets.malaria_cnn import MALARIA_CNN
from edgecell_train.presets.malaria_gap import MALARIA_GAP
from edgecell_train.presets.mlp import MLP
from edgecell_train.presets.mnist_cnn import MNIST_CNN

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


for _preset in (
    MALARIA_CNN,
    MALARIA_GAP,
    CELL_NANO,
    CELL_MICRO,
    CELL_SMALL,
    MNIST_CNN,
    CNN_128,
    CNN_128_REGULARISED,
    CNN_3D,
    LOGISTIC,
    MLP,
):
    register(_preset)


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UsageError: There is none.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
