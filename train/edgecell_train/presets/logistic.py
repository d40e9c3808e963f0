"""``logistic``: a single sigmoid neuron on the pixels, the least that a net can be."""

from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import Optimizer, TrainConfig
from edgecell_train.presets import parts
from edgecell_train.presets.base import KerasModel, Preset

NAME = "logistic"


def build(shape: tuple[int, ...], labels: int) -> KerasModel:
    """Builds the neuron: pixels (n, *shape), 0-255, to one sigmoid, (n, 1).

    Raises:
        UsageError: The shape is no image's, or there are not two labels.
    """
    model = parts.begin(NAME, shape)
    parts.flatten(model, 1)
    return parts.end(model, NAME, "sigmoid", labels)


LOGISTIC = Preset(
    name=NAME,
    summary="logistic regression on the pixels: a baseline without convolution",
    published="Cox 1958, J. R. Stat. Soc. B 20:215; the first net of most courses",
    preprocessing=PreprocessSpec(64, 64),
    head="sigmoid",
    recipe=TrainConfig(
        preset=NAME, epochs=20, batch_size=32, optimizer=Optimizer("adam", learning_rate=3e-4)
    ),
    build=build,
)
