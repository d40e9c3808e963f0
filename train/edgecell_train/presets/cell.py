"""``cell-nano``, ``cell-micro``, ``cell-small``: nets of kilobytes for microcontrollers and NPUs.

Plain convolutions without a bias of their own, each with BatchNormalization and ReLU, a global pool
and one dense layer: operators that TFLite Micro, XNNPACK and Vela all have kernels for. On x86 a
plain net gains by integers the more channels it has: ``cell-small`` is 2.4 times as fast as in
float32, ``cell-micro`` 1.3, ``cell-nano`` half as fast; a depthwise one loses.
The published cells are some 50 pixels wide and parasites 3 to 20 of them: strides come early, and
the last convolution sees 23 of the 48 pixels in ``cell-nano``, 39 in the others.

The augmentation is wide, for the light, stain, focus and noise of other laboratories. ``cell-nano``
has too few weights for all of it and takes about half: in fold 4 of 5 the validation loss was 0.136
with a narrow one, 0.138 with half and 0.141 with the whole.
"""

from typing import Final

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import (
    Augmentation,
    Optimizer,
    Regularization,
    Schedule,
    Stopping,
    TrainConfig,
)
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

Convolution = tuple[int, int, int]
"""Filters, side of the kernel, stride."""

CONVOLUTIONS: Final[dict[str, tuple[Convolution, ...]]] = {
    "cell-nano": ((8, 3, 2), (10, 3, 2), (10, 3, 1), (10, 3, 2)),
    "cell-micro": ((16, 3, 2), (20, 3, 2), (24, 3, 1), (28, 3, 2), (28, 3, 1)),
    "cell-small": ((24, 3, 2), (32, 3, 2), (48, 3, 1), (64, 3, 2), (64, 3, 1)),
}
"""From the image on; sized so that the int8 TFLite file keeps its limit."""


WIDE: Final = Augmentation(
    flips=True,
    quarter_turns=True,
    shift=0.04,
    zoom=0.1,
    brightness=0.15,
    contrast=0.15,
    hue=10.0,
    stain=0.1,
    blur=1.2,
    noise=8.0,
)
HALF_AS_WIDE: Final = Augmentation(
    flips=True,
    quarter_turns=True,
    shift=0.04,
    zoom=0.05,
    brightness=0.1,
    contrast=0.1,
    hue=6.0,
    stain=0.07,
    blur=0.8,
    noise=4.0,
)


def _preset(name: str, summary: str, augmentation: Augmentation) -> Preset:
    def build(shape: tuple[int, ...], labels: int) -> KerasModel:
        """Builds the net: pixels (n, *shape), 0-255, to a softmax, (n, labels).

        Raises:
            UsageError: There is no second label.
        """
        layers = import_keras().layers
        model = parts.begin(name, shape)
        for block, (filters, size, stride) in enumerate(CONVOLUTIONS[name], start=1):
            model.add(
                layers.Conv2D(
                    filters,
                    size,
                    strides=stride,
                    padding="same",
                    use_bias=False,
                    kernel_initializer="he_normal",
                    name=f"conv{block}",
                )
            )
            model.add(layers.BatchNormalization(momentum=0.95, name=f"norm{block}"))
            model.add(layers.ReLU(name=f"relu{block}"))
        model.add(layers.GlobalAveragePooling2D(name="pool"))
        return parts.end(model, name, "softmax", labels)

    return Preset(
        name=name,
        summary=summary,
        published="edgecell",
        preprocessing=PreprocessSpec(48, 48),
        head="softmax",
        recipe=TrainConfig(
            preset=name,
            epochs=20,
            batch_size=64,
            optimizer=Optimizer("adamw", learning_rate=3e-3, weight_decay=0.02),
            schedule=Schedule("cosine", warmup_epochs=1.0),
            regularization=Regularization(label_smoothing=0.05),
            augmentation=augmentation,
            # The rate ends at 0, and a refit, which has no validation part, keeps the last too.
            stopping=Stopping(keep="last"),
        ),
        build=build,
    )


CELL_NANO = _preset(
    "cell-nano",
    "four convolutions of 8 to 10; int8 TFLite of at most 10 kB",
    HALF_AS_WIDE,
)
CELL_MICRO = _preset(
    "cell-micro",
    "five convolutions of 16 to 28; int8 TFLite of at most 30 kB",
    WIDE,
)
CELL_SMALL = _preset(
    "cell-small",
    "five convolutions of 24 to 64; int8 TFLite of at most 100 kB",
    WIDE,
)
