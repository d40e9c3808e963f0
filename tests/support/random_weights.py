"""Images and weights for a random model, so that its answers are spread and BatchNormalization odd.

BatchNormalization gets the statistics of the images, as training leaves them, with factors that
are negative, zero and tiny among them; the last layer is scaled so that the answers are spread.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras


def random_pixels(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    noise = rng.integers(0, 256, (4, *shape), np.uint8)
    ramp = np.linspace(0, 255, np.prod(shape)).reshape(shape).astype(np.uint8)
    return np.stack([*noise, ramp, ramp[::-1], np.zeros_like(ramp), np.full_like(ramp, 255)])


def set_weights(rng: np.random.Generator, model: Any, pixels: NDArray[np.float32]) -> None:
    keras = import_keras()
    for layer in model._flatten_layers(include_self=False):
        for variable in layer._trainable_variables:
            variable.assign(_drawn(rng, variable.name, tuple(variable.shape)))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(pixels, training=True)  # sets the statistics
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            # One that divides by next to nothing makes noise of what Keras rounds.
            least = 1e-3 + (0.05 * np.asarray(layer.moving_mean)) ** 2
            layer.moving_variance.assign(np.maximum(layer.moving_variance, least))
    last = model.get_layer("last")
    features = np.asarray(keras.Model(model.inputs[0], last.input)(pixels, training=False), float)
    logits = features @ np.asarray(last.kernel, float)
    factor = 2 / np.maximum(logits.std(axis=0), 0.05 * np.abs(logits).max(axis=0) + 1e-3)
    bias = rng.normal(0, 0.5, len(factor)) - logits.mean(axis=0) * factor
    last.set_weights([np.asarray(last.kernel) * factor, bias])


def _drawn(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if name == "gamma":
        odd = rng.choice([0.0, 1e-20, -1e-20, 1e-7, -1e-4, 30.0], shape)
        usual = rng.uniform(0.3, 2, shape) * rng.choice([-1, 1, 1, 1], shape)
        return np.where(rng.random(shape) < 0.1, odd, usual)
    if "kernel" in name:
        inputs = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return rng.normal(0, np.sqrt(2 / inputs), shape)
    return rng.normal(0, 0.3, shape)
