"""Where a net looks: Grad-CAM, on Keras's TensorFlow and JAX backends.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization".
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_train.gradients import Tensor, gradient
from edgecell_train.presets.base import KerasModel

_BATCH: Final = 32


def grad_cam(
    model: KerasModel, pixels: NDArray[np.uint8], asked: NDArray[np.integer], head: Head
) -> NDArray[np.float32]:
    """How much each place of an image speaks for a label.

    The channels of the last convolution are added up, each weighted with the mean gradient of the
    label's logit by that channel; what is negative, and so speaks against the label, is cut off.

    Args:
        model: A Keras model with convolutions that ends in the activation of its head.
        pixels: uint8 (n, height, width, channels), preprocessed, 0-255.
        asked: int (n,), for each image the index of the label asked about. Of a single output, 0
            asks for the label that it says, 1 for the other.
        head: Of the model.

    Returns:
        float32 (n, map height, map width), 0-1: each image's largest value is 1, or all are 0 where
        nothing speaks for the label.

    Raises:
        UsageError: The model has no convolution of images behind which the rest follows from it.
    """
    lower, upper = _halves(model)
    ops = import_keras().ops
    maps = []
    for start in range(0, len(pixels), _BATCH):
        features = lower(ops.convert_to_tensor(pixels[start : start + _BATCH]), training=False)
        weights = _label_weights(asked[start : start + _BATCH], head, int(model.output_shape[-1]))

        def score(values: Tensor, wanted: NDArray[np.float32] = weights) -> Tensor:
            return ops.sum(_logits(upper, model.layers[-1], values) * wanted)

        slope = gradient(score, features)
        channels = ops.mean(slope, axis=(1, 2), keepdims=True)
        maps.append(np.asarray(ops.convert_to_numpy(ops.relu(ops.sum(features * channels, -1)))))
    heat: NDArray[np.float32] = np.concatenate(maps).astype(np.float32)
    largest = heat.max(axis=(1, 2), keepdims=True)
    np.divide(heat, largest, out=heat, where=largest > 0)
    return heat


def _halves(model: KerasModel) -> tuple[KerasModel, KerasModel]:
    """The model up to its last convolution, and from there to what its last layer is given.

    Where a later layer also needs something from before that convolution, as behind a shortcut,
    the one before it is tried.
    """
    keras = import_keras()
    graph, last = _graph(model), model.layers[-1]
    # Of a last layer that is an activation, or has one, what it is given; else what it gives.
    ends = graph.given if _is_dense(last) or _is_activation(last) else graph.outputs[-1]
    for layer, output in reversed(list(zip(model.layers, graph.outputs, strict=True))):
        if not _convolves(layer) or max(output.shape[1:3]) <= 1:
            continue
        try:
            upper = keras.Model(output, ends)
        except ValueError:  # the rest does not follow from this layer alone
            continue
        return keras.Model(graph.image, output), upper
    raise UsageError(
        "Grad-CAM cannot look into this model: it has no convolution of images, at its top level, "
        "from which the rest follows. Expected one, as in the preset malaria-cnn."
    )


class _Graph(NamedTuple):
    """A model's symbolic tensors: its input, each layer's output, what the last layer is given."""

    image: Tensor
    outputs: list[Tensor]
    given: Tensor


def _graph(model: KerasModel) -> _Graph:
    keras = import_keras()
    if not isinstance(model, keras.Sequential):
        outputs = [layer.output for layer in model.layers]
        return _Graph(model.inputs[0], outputs, model.layers[-1].input)
    # A Sequential that was loaded has called its layers before, on inputs that are not its own.
    tensors = [keras.Input(model.input_shape[1:])]
    for layer in model.layers:
        tensors.append(layer(tensors[-1]))
    return _Graph(tensors[0], tensors[1:], tensors[-2])


def _convolves(layer: Any) -> bool:
    layers = import_keras().layers
    kinds = (
        layers.Conv2D,
        layers.DepthwiseConv2D,
        layers.SeparableConv2D,
        layers.Conv2DTranspose,
    )
    return isinstance(layer, kinds)


def _logits(upper: KerasModel, last: Any, values: Tensor) -> Tensor:
    """What the last layer answers, its activation left out."""
    outputs = upper(values, training=False)
    if not _is_dense(last):
        return outputs
    ops = import_keras().ops
    logits = ops.matmul(outputs, last.kernel)
    return logits + last.bias if last.use_bias else logits


def _is_dense(layer: Any) -> bool:
    return isinstance(layer, import_keras().layers.Dense)


def _is_activation(layer: Any) -> bool:
    layers = import_keras().layers
    return isinstance(layer, layers.Activation | layers.Softmax)


def _label_weights(asked: NDArray[np.integer], head: Head, outputs: int) -> NDArray[np.float32]:
    """What each logit counts: float32 (n, outputs)."""
    if head.kind == "sigmoid":
        signs: NDArray[np.float32] = np.where(asked == 0, 1, -1).astype(np.float32)
        return signs[:, np.newaxis]
    weights: NDArray[np.float32] = np.eye(outputs, dtype=np.float32)[asked]
    return weights
