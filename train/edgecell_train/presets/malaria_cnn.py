"""``malaria-cnn``: the small convolutional net that malaria courses teach, exactly as published."""

from typing import Any

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.presets.base import KerasModel, Preset

_SPEC = PreprocessSpec(height=64, width=64)


def build(labels: int) -> KerasModel:
    """Builds the model: uint8-valued pixels (n, 64, 64, 3) to one sigmoid a label, (n, labels)."""
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(name="malaria_cnn")
    model.add(keras.Input(_SPEC.shape, name="image"))
    model.add(layers.Rescaling(1 / 255, name="rescaling"))
    for block in (1, 2):
        model.add(
            layers.Conv2D(32, 3, padding="same", activation="relu", name=f"convolution_{block}")
        )
        model.add(layers.MaxPooling2D(2, name=f"pooling_{block}"))
        model.add(layers.BatchNormalization(name=f"batchnorm_{block}"))
        model.add(layers.Dropout(0.2, name=f"dropout_{block}"))
    model.add(layers.Flatten(name="flatten"))
    for block, units in ((3, 512), (4, 256)):
        model.add(layers.Dense(units, activation="relu", name=f"dense_{block}"))
        model.add(layers.BatchNormalization(name=f"batchnorm_{block}"))
        model.add(layers.Dropout(0.2, name=f"dropout_{block}"))
    model.add(layers.Dense(labels, activation="sigmoid", name="output"))
    model.compile(optimizer="adam", loss=_loss(keras), metrics=["accuracy"])
    return model


def _loss(keras: Any) -> Any:
    """Categorical cross-entropy of the sigmoids divided by their sum, on every backend.

    Under TensorFlow Keras remembers the logits behind a sigmoid and would take their softmax
    instead, which is another function and not the head that turns outputs into probabilities.
    """

    class CategoricalCrossentropy(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return super().call(y_true, y_pred * 1.0)  # a new tensor, without its logits

    return CategoricalCrossentropy()


MALARIA_CNN = Preset(
    name="malaria-cnn",
    summary="64 x 64 RGB, two convolutions, three dense layers, 4.3 million parameters",
    published="course notebooks on the NLM malaria cells (Rajaraman et al. 2018, PeerJ 6:e4568)",
    preprocessing=_SPEC,
    head=Head("normalised_sigmoid"),
    epochs=6,
    batch_size=32,
    build=build,
)
