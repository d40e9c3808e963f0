"""BatchNormalization's running averages, estimated anew ("precise BN", Wu and Johnson 2021)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_train.feeding import LabelledPixels, answering_batch
from edgecell_train.presets.base import KerasModel

IMAGES: Final = 2048
"""So many images give the averages to within a percent."""

_BATCH: Final = 128


def has_averages(model: KerasModel) -> bool:
    """Whether the model has a BatchNormalization, in a model within it too."""
    return bool(_layers(model, "BatchNormalization"))


def current(model: KerasModel) -> list[NDArray[np.float32]]:
    """Means and variances as they are, for ``put_back``."""
    norms = _layers(model, "BatchNormalization")
    return [np.array(v.numpy()) for x in norms for v in (x.moving_mean, x.moving_variance)]


def put_back(model: KerasModel, values: list[NDArray[np.float32]]) -> None:
    """Sets means and variances to what ``current`` gave."""
    norms = _layers(model, "BatchNormalization")
    variables = [v for x in norms for v in (x.moving_mean, x.moving_variance)]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def reestimate(model: KerasModel, training: LabelledPixels) -> None:
    """Estimates BatchNormalization's averages anew, where the model has any.

    The running averages (momentum 0.99) lag behind the weights, and after few steps a validation
    with them is noise. Means and variances over training images, without dropout and with the
    weights as they are, take their place (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm").

    Args:
        model: Its averages are changed.
        training: The images; at most 2,048 of them are used, always the same.
    """
    norms = _layers(model, "BatchNormalization")
    if not norms:
        return
    dropouts = _layers(model, "Dropout", "GaussianDropout", "AlphaDropout")
    momenta, rates = [x.momentum for x in norms], [x.rate for x in dropouts]
    size = answering_batch(training.pixels.shape[1:], _BATCH)
    chosen = np.random.default_rng(0).permutation(len(training))[:IMAGES]
    try:
        for layer in dropouts:
            layer.rate = 0.0  # the averages are for inference, which drops nothing
        for start in range(0, len(chosen), size):
            batch = training.take(chosen[start : start + size]).astype(np.float32)
            for layer in norms:
                # The mean over all images so far; the last batch may be a small one.
                layer.momentum = start / (start + len(batch))
            model(batch, training=True)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate


def _layers(model: KerasModel, *names: str) -> list[Any]:
    """The layers of these classes of Keras, those of models within the model too."""
    kinds = tuple(getattr(import_keras().layers, name) for name in names)
    found = []
    for layer in model.layers:
        if isinstance(layer, kinds):
            found.append(layer)
        if hasattr(layer, "layers"):
            found += _layers(layer, *names)
    return found
