"""BatchNormalization's running averages, estimated anew ("precise BN", Wu and Johnson 2021)."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_train.feeding import LabelledPixels, answering_batch, pieces
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

IMAGES: Final = 2048
"""So many images give the averages to within a percent."""

_BATCH: Final = 128
_KEPT: Final = "_edgecell_batch_statistics"


def has_averages(model: KerasModel) -> bool:
    """Whether the model has a BatchNormalization, in a model within it too."""
    return bool(_layers(model, "BatchNormalization"))


def current(model: KerasModel) -> list[NDArray[np.generic]]:
    """Means and variances as they are, for ``put_back``."""
    return values_of(_averages(model))


def put_back(model: KerasModel, values: list[NDArray[np.generic]]) -> None:
    """Sets means and variances to what ``current`` gave."""
    for variable, value in zip(_averages(model), values, strict=True):
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
    if not has_averages(model):
        return
    size = answering_batch(training.pixels.shape[1:], _BATCH)
    chosen = np.random.default_rng(0).permutation(len(training))[:IMAGES]
    found, counts = [], []
    with _as_for_inference(model):
        statistics = _batch_statistics(model)
        for pixels in pieces(training, chosen, size):
            found.append(statistics.predict_on_batch(pixels))
            counts.append(len(pixels))
    # The mean over all images: the last batch may be a small one.
    put_back(model, [_weighted_mean(values, counts) for values in zip(*found, strict=True)])


def _weighted_mean(
    values: tuple[NDArray[np.float32], ...], weights: list[int]
) -> NDArray[np.float32]:
    mean = np.average(np.array(values, np.float64), axis=0, weights=weights)
    return mean.astype(np.float32)


@contextlib.contextmanager
def _as_for_inference(model: KerasModel) -> Iterator[None]:
    """No dropout, since inference drops nothing; averages that hold the last batch alone."""
    changed = [(x, "momentum") for x in _layers(model, "BatchNormalization")]
    dropouts = _layers(model, "Dropout", "GaussianDropout", "AlphaDropout")
    changed += [(x, "rate") for x in dropouts]
    before = [getattr(layer, name) for layer, name in changed]
    try:
        for layer, name in changed:
            setattr(layer, name, 0.0)
        yield
    finally:
        for (layer, name), value in zip(changed, before, strict=True):
            setattr(layer, name, value)


@dataclass(frozen=True)
class _Kept:
    """Hides a model from Keras, which would take it for a part of the one that it is kept at."""

    model: KerasModel


def _batch_statistics(model: KerasModel) -> KerasModel:
    """A model that gives a batch's means and variances, (channels,) each.

    It is kept with the model that it is of, since Keras compiles it when it is first used.
    """
    kept: _Kept | None = getattr(model, _KEPT, None)
    if kept is not None:
        return kept.model
    keras = import_keras()
    base: Any = keras.Model

    class BatchStatistics(base):  # type: ignore[misc]
        """Runs the model as in training, and looks at what its averages became."""

        def __init__(self) -> None:
            super().__init__(dtype="float32")
            self.observed = model

        def call(self, pixels: Any) -> list[Any]:
            self.observed(keras.ops.cast(pixels, "float32"), training=True)
            return [keras.ops.convert_to_tensor(v) for v in _averages(self.observed)]

    setattr(model, _KEPT, _Kept(BatchStatistics()))
    return _batch_statistics(model)


def _averages(model: KerasModel) -> list[Any]:
    """The variables: the mean and the variance of each norm."""
    norms = _layers(model, "BatchNormalization")
    return [v for x in norms for v in (x.moving_mean, x.moving_variance)]


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
