"""``malaria-gap``: four convolutions and a global pool, ten times smaller than ``malaria-cnn``."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, Schedule, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "malaria-gap"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to a softmax, (n, labels).

    Raises:
        UsageError: The size is below 24 x 24, or there is no second label.
    """
    layers = import_keras().layers
    model = parts.begin(NAME, shape, smallest=24)
    for block, filters in enumerate((32, 64, 128, 256), start=1):
        model.add(layers.Conv2D(filters, 3, name=f"convolution_{block}"))
        model.add(layers.BatchNormalization(momentum=0.95, name=f"batchnorm_{block}"))
        model.add(layers.ReLU(name=f"relu_{block}"))
        if block > 1:
            model.add(layers.MaxPooling2D(2, name=f"pooling_{block}"))
    model.add(layers.Dropout(0.25, name="dropout_1"))
    model.add(layers.GlobalAveragePooling2D(name="global_pooling"))
    model.add(layers.Dense(128, activation="relu", name="dense"))
    model.add(layers.Dropout(0.5, name="dropout_2"))
    return parts.end(model, NAME, "softmax", labels)


MALARIA_GAP = Preset(
    name=NAME,
    summary="four convolutions with BatchNormalization, global average pooling, dense 128",
    published="course material on the NLM malaria cells, split by patient, Adadelta",
    preprocessing=PreprocessSpec(64, 64),
    head="softmax",
    # 1.0 is Adadelta's rate in its paper (Zeiler 2012); Keras 3's default of 0.001 hardly moves.
    recipe=TrainConfig(
        preset=NAME,
        epochs=20,
        batch_size=32,
        optimizer=Optimizer("adadelta", learning_rate=1.0),
        schedule=Schedule("cosine"),
    ),
    build=build,
)
