"""``cnn-128``: three wide convolutions on large images, one sigmoid output."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "cnn-128"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to one sigmoid, (n, 1).

    Raises:
        UsageError: The size is below 8 x 8 or too large, or there are not two labels.
    """
    layers = import_keras().layers
    model = parts.begin(NAME, shape, smallest=8)
    for block, (filters, size) in enumerate(((64, 5), (128, 3), (128, 3)), start=1):
        model.add(
            layers.Conv2D(
                filters, size, padding="same", activation="relu", name=f"convolution_{block}"
            )
        )
        model.add(layers.MaxPooling2D(2, name=f"pooling_{block}"))
    parts.flatten(model, 512)
    model.add(layers.Dense(512, activation="relu", name="dense_1"))
    model.add(layers.Dense(128, activation="relu", name="dense_2"))
    return parts.end(model, NAME, "sigmoid", labels)


CNN_128 = Preset(
    name=NAME,
    summary="three convolutions of 64 and 128, dense 512, 128, one sigmoid output",
    published="course material on the NLM malaria cells, there with SGD",
    preprocessing=PreprocessSpec(128, 128),
    head="sigmoid",
    # SGD at 0.01 and 0.03, with momentum too, had hardly begun to learn after seven epochs.
    recipe=TrainConfig(
        preset=NAME,
        epochs=20,
        batch_size=32,
        optimizer=Optimizer("adam", learning_rate=3e-4),
    ),
    build=build,
)
