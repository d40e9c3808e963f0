"""``cnn-128-regularised``: ``cnn-128`` with dropout, L2 and He's initial weights."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "cnn-128-regularised"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to one sigmoid, (n, 1).

    The dense layers start from He et al. 2015, normal.

    Raises:
        UsageError: The size is below 8 x 8 or too large, or there are not two labels.
    """
    keras = import_keras()
    layers = keras.layers
    model = parts.begin(NAME, shape, smallest=8)
    for block, (filters, size) in enumerate(((64, 5), (128, 3), (128, 3)), start=1):
        model.add(
            layers.Conv2D(
                filters, size, padding="same", activation="relu", name=f"convolution_{block}"
            )
        )
        model.add(layers.MaxPooling2D(2, name=f"pooling_{block}"))
        model.add(layers.Dropout(0.4, name=f"dropout_{block}"))
    parts.flatten(model, 512)
    for block, units in enumerate((512, 128), start=1):
        model.add(
            layers.Dense(
                units,
                activation="relu",
                kernel_initializer="he_normal",
                kernel_regularizer=keras.regularizers.L2(0.01),
                name=f"dense_{block}",
            )
        )
        model.add(layers.Dropout(0.2, name=f"dropout_{block + 3}"))
    return parts.end(model, NAME, "sigmoid", labels)


CNN_128_REGULARISED = Preset(
    name=NAME,
    summary="cnn-128 with dropout 0.4 and 0.2, He-normal and L2 0.01 in the dense layers",
    published="course material on the NLM malaria cells, there with SGD",
    preprocessing=PreprocessSpec(128, 128),
    head="sigmoid",
    # At higher rates, and with SGD, the squares win: every image gets the same answer.
    recipe=TrainConfig(
        preset=NAME,
        epochs=40,
        batch_size=32,
        optimizer=Optimizer("adam", learning_rate=1e-4),
    ),
    build=build,
)
