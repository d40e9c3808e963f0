"""``mnist-cnn``: one convolution for digits, 28 x 28 grey pixels."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "mnist-cnn"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: pixels (n, *shape), 0-255, to a softmax, (n, labels).

    Raises:
        UsageError: The size is below 4 x 4, or there is no second label.
    """
    layers = import_keras().layers
    model = parts.begin(NAME, shape, smallest=4)
    model.add(layers.Conv2D(32, 3, activation="relu", name="convolution"))
    model.add(layers.MaxPooling2D(2, name="pooling"))
    model.add(layers.Dropout(0.25, name="dropout_1"))
    parts.flatten(model, 128)
    model.add(layers.Dense(128, activation="relu", name="dense"))
    model.add(layers.Dropout(0.5, name="dropout_2"))
    return parts.end(model, NAME, "softmax", labels)


MNIST_CNN = Preset(
    name=NAME,
    summary="one convolution with pooling, dense 128; for grey digits",
    published="course material on MNIST (LeCun et al. 1998), 98.55 % after 10 epochs",
    preprocessing=PreprocessSpec(28, 28, color_mode="L"),
    head="softmax",
    # Published are 10 epochs; the validation loss still falls there.
    recipe=TrainConfig(preset=NAME, epochs=20, batch_size=32, optimizer=Optimizer("adam")),
    build=build,
)
