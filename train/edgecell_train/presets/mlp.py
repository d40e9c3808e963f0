"""``mlp``: one hidden layer on the pixels, to show what convolution buys."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "mlp"
_UNITS = 128


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to one sigmoid, (n, 1).

    Raises:
        UsageError: The size is too large, or there are not two labels.
    """
    model = parts.begin(NAME, shape)
    parts.flatten(model, _UNITS)
    model.add(import_keras().layers.Dense(_UNITS, activation="relu", name="dense"))
    return parts.end(model, NAME, "sigmoid", labels)


MLP = Preset(
    name=NAME,
    summary="one hidden layer of 128 on the pixels: a baseline without convolution",
    published="Rumelhart, Hinton and Williams 1986, Nature 323:533; the second net of most courses",
    preprocessing=PreprocessSpec(64, 64),
    head="sigmoid",
    recipe=TrainConfig(
        preset=NAME, epochs=20, batch_size=32, optimizer=Optimizer("adam", learning_rate=3e-4)
    ),
    build=build,
)
