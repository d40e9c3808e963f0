"""``malaria-cnn``: the small convolutional net that malaria courses teach, exactly as published."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, Schedule, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "malaria-cnn"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to one sigmoid a label, (n, labels).

    Raises:
        UsageError: The size is below 4 x 4, or there is no second label.
    """
    layers = import_keras().layers
    model = parts.begin(NAME, shape, smallest=4)
    for block in (1, 2):
        model.add(
            layers.Conv2D(32, 3, padding="same", activation="relu", name=f"convolution_{block}")
        )
        model.add(layers.MaxPooling2D(2, name=f"pooling_{block}"))
        model.add(layers.BatchNormalization(name=f"batchnorm_{block}"))
        model.add(layers.Dropout(0.2, name=f"dropout_{block}"))
    parts.flatten(model, 512)
    for block, units in ((3, 512), (4, 256)):
        model.add(layers.Dense(units, activation="relu", name=f"dense_{block}"))
        model.add(layers.BatchNormalization(name=f"batchnorm_{block}"))
        model.add(layers.Dropout(0.2, name=f"dropout_{block}"))
    return parts.end(model, NAME, "normalised_sigmoid", labels)


MALARIA_CNN = Preset(
    name=NAME,
    summary="two convolutions, each with pooling and BatchNormalization; dense 512, 256",
    published="course notebooks on the NLM malaria cells (Rajaraman et al. 2018, PeerJ 6:e4568)",
    preprocessing=PreprocessSpec(64, 64),
    head="normalised_sigmoid",
    recipe=TrainConfig(
        preset=NAME,
        epochs=6,
        batch_size=32,
        optimizer=Optimizer("adam"),
        schedule=Schedule("cosine"),  # the published rate is constant, and ends lower
    ),
    build=build,
)
