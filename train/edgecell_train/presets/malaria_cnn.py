"""``malaria-cnn``: the small convolutional net that malaria courses teach, exactly as published."""

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
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


MALARIA_CNN = Preset(
    name="malaria-cnn",
    summary="64 x 64 RGB, two convolutions, three dense layers, 4.3 million parameters",
    published="course notebooks on the NLM malaria cells (Rajaraman et al. 2018, PeerJ 6:e4568)",
    preprocessing=_SPEC,
    # Categorical cross-entropy divides the two sigmoids by their sum before it takes the logarithm.
    head=Head("normalised_sigmoid"),
    epochs=6,
    batch_size=32,
    build=build,
)
