"""What the presets' nets share: how they begin and end, and which sizes and labels they take."""

import math
from typing import Final

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import HeadKind
from edgecell_train.presets.base import KerasModel

MOST_WEIGHTS: Final = 1 << 29
"""Of one dense layer, 2 GiB in float32: beyond it Keras ends in the middle of the allocation."""

_ACTIVATIONS: Final[dict[HeadKind, str]] = {
    "softmax": "softmax",
    "normalised_sigmoid": "sigmoid",
    "sigmoid": "sigmoid",
}


def begin(name: str, shape: tuple[int, ...], smallest: int = 1) -> KerasModel:
    """A Sequential model that takes pixels, 0-255, and begins by making them 0-1.

    Args:
        name: Of the preset.
        shape: Of one image, (height, width, channels).
        smallest: Height and width that leave something behind the last pooling.

    Raises:
        UsageError: The shape is no image's, or is too small.
    """
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UsageError(
            f"The preset {name} takes images, this is the shape {shape}; expected (height, width, "
            "channels) with 1 or 3 channels. For volumes take the preset cnn-3d."
        )
    if min(shape[:2]) < smallest:
        raise UsageError(
            f"{shape[0]} x {shape[1]} pixels are too small for the preset {name}: its convolutions "
            f"and poolings leave nothing of them; expected at least {smallest} x {smallest}."
        )
    keras = import_keras()
    model = keras.Sequential(name=name.replace("-", "_"))
    model.add(keras.Input(shape, name="image"))
    model.add(keras.layers.Rescaling(1 / 255, name="rescaling"))
    return model


def flatten(model: KerasModel, units: int) -> None:
    """Adds a Flatten that a dense layer may follow.

    Args:
        model: What is flattened.
        units: Of the dense layer.

    Raises:
        UsageError: The dense layer would have too many weights.
    """
    weights = math.prod(model.output_shape[1:]) * units
    if weights > MOST_WEIGHTS:
        raise UsageError(
            f"Images of {' x '.join(map(str, model.input_shape[1:]))} give the net {model.name} a "
            f"dense layer of {weights:,} weights; at most {MOST_WEIGHTS:,} are made. Take a "
            "smaller size, or the preset malaria-gap, which grows with no size."
        )
    model.add(import_keras().layers.Flatten(name="flatten"))


def end(model: KerasModel, preset: str, head: HeadKind, labels: int) -> KerasModel:
    """Adds the last layer: one output a label, or one for the head ``sigmoid``.

    Args:
        model: The net so far.
        preset: Its name.
        head: How outputs become probabilities.
        labels: How many there are.

    Returns:
        The model.

    Raises:
        UsageError: The net cannot tell so many labels apart.
    """
    if labels < 2:
        raise UsageError(f"There are {labels} labels; a classifier tells at least two apart.")
    if head == "sigmoid" and labels != 2:
        raise UsageError(
            f"The preset {preset} has a single output, which tells two labels apart; there are "
            f"{labels}. Take another preset, such as malaria-gap."
        )
    outputs = 1 if head == "sigmoid" else labels
    # In mixed precision too, a probability needs more digits than float16 has.
    model.add(
        import_keras().layers.Dense(
            outputs, activation=_ACTIVATIONS[head], dtype="float32", name="output"
        )
    )
    return model
