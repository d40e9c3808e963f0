"""``cnn-3d``: three convolutions on volumes, such as stacks of slices, one sigmoid output."""

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "cnn-3d"

_SMALLEST = 8
"""Three poolings leave one voxel of it."""


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the net: voxels (n, depth, height, width, channels), 0-255, to one sigmoid, (n, 1).

    Raises:
        UsageError: The shape is no volume's, a side is below 8, the volume is too large, or there
            are not two labels.
    """
    _require_volume(shape)
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(name=NAME.replace("-", "_"))
    model.add(keras.Input(shape, name="volume"))
    model.add(layers.Rescaling(1 / 255, name="rescaling"))
    for block, (filters, size) in enumerate(((64, 7), (128, 5), (256, 3)), start=1):
        model.add(
            layers.Conv3D(
                filters, size, padding="same", activation="relu", name=f"convolution_{block}"
            )
        )
        model.add(layers.MaxPooling3D(2, name=f"pooling_{block}"))
    parts.flatten(model, 512)
    model.add(layers.Dense(512, activation="relu", name="dense_1"))
    model.add(layers.Dense(128, activation="relu", name="dense_2"))
    return parts.end(model, NAME, "sigmoid", labels)


def _require_volume(shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise UsageError(
            f"The preset {NAME} takes volumes, this is the shape {shape}; expected (depth, height, "
            "width, channels) with 1 or 3 channels. For images take another preset, such as "
            "cnn-128."
        )
    if min(shape[:3]) < _SMALLEST:
        raise UsageError(
            f"{' x '.join(map(str, shape[:3]))} voxels are too small for the preset {NAME}: its "
            f"poolings leave nothing of them; expected at least {_SMALLEST} a side."
        )


CNN_3D = Preset(
    name=NAME,
    summary="volumes; three 3-D convolutions of 64 to 256, dense 512, 128, one sigmoid output",
    published="course material: the net of cnn-128 in three dimensions",
    preprocessing=PreprocessSpec(128, 128, depth=64),
    head="sigmoid",
    recipe=TrainConfig(
        preset=NAME,
        epochs=20,
        batch_size=4,  # of the first convolution's answers, one volume's take 268 MB in float32
        optimizer=Optimizer("adam", learning_rate=1e-4),
    ),
    build=build,
)
