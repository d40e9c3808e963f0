"""Keras layers to nodes, one reader a kind; a layer without a reader is carried along."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    MaxPool3D,
    Node,
    Rescale,
    TrainingOnly,
    ZeroPad2D,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError


def read_layer(layer: Any) -> list[Node]:
    """Describes a layer with one input.

    Raises:
        PreparationError: It holds weights that are not numbers, or cannot be made again.
    """
    if getattr(layer, "quantization_mode", None):
        raise PreparationError(
            f"The layer {layer.name} was quantised by Keras ({layer.quantization_mode}); expected "
            "float weights, which a recipe then quantises. Export the model as it was before."
        )
    for weight in layer.weights:
        _array(weight)
    reader = _READERS.get(type(layer).__name__) if _is_of_keras(layer) else None
    nodes = None if reader is None else reader(layer)
    return [KerasLayer.describe(layer)] if nodes is None else nodes


def read_operation(operation: Any, arguments: tuple[Any, ...]) -> list[Node]:
    """Describes arithmetic with one tensor and one number, such as ``image / 255``.

    Raises:
        PreparationError: It is something else.
    """
    kind, numbers = type(operation).__name__, [a for a in arguments if isinstance(a, int | float)]
    if len(arguments) == 2 and len(numbers) == 1:
        value, leads = float(numbers[0]), isinstance(arguments[0], int | float)
        rescales = {
            "Multiply": Rescale(value, 0.0),
            "Add": Rescale(1.0, value),
            "Subtract": Rescale(-1.0, value) if leads else Rescale(1.0, -value),
        }
        if value and not leads:
            rescales |= {name: Rescale(1 / value, 0.0) for name in ("Divide", "TrueDivide")}
        if kind in rescales:
            return [rescales[kind]]
    raise PreparationError(
        f"The model computes {kind} outside of a layer; expected layers, or one number added, "
        "subtracted, multiplied or divided by. Use the layer of that name, or Rescaling."
    )


def read_join(operation: Any) -> KerasLayer:
    """Describes a layer, or the arithmetic, that makes one tensor of several.

    Raises:
        PreparationError: It is unknown.
    """
    keras = import_keras()
    if isinstance(operation, keras.layers.Layer):
        return KerasLayer.describe(operation, joins=True)
    kind = type(operation).__name__
    if kind not in _JOINING:
        raise PreparationError(
            f"The model joins tensors by {kind} outside of a layer; expected a layer such as "
            "keras.layers.Add or Concatenate."
        )
    return KerasLayer.describe(getattr(keras.layers, kind)(name=operation.name), joins=True)


_JOINING: Final = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})


def _is_of_keras(layer: Any) -> bool:
    """A user's own class may carry the name of one of Keras's."""
    return type(layer).__module__.partition(".")[0] == "keras"


def _array(values: Any) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise PreparationError(
            "The model holds weights that are not numbers; its training diverged. Train it again "
            "with a lower learning rate."
        )
    return array


def _activation(layer: Any) -> list[Node]:
    name: Any = getattr(layer.activation, "__name__", type(layer.activation).__name__)
    if name == "linear":
        return []
    if name in ("relu", "sigmoid", "softmax") and layer.activation is getattr(
        import_keras().activations, name
    ):
        return [Activation(name)]
    own = import_keras().layers.Activation(layer.activation, name=f"{layer.name}_{name}")
    return [KerasLayer.describe(own)]


def _plain(layer: Any) -> bool:
    """Whether a convolution is one that has a node: channels last, not dilated, not grouped."""
    return (
        layer.data_format == "channels_last"
        and tuple(layer.dilation_rate) == (1, 1)
        and getattr(layer, "groups", 1) == 1
        and layer.padding in ("same", "valid")
    )


def _bias(layer: Any, outputs: int) -> Array:
    return _array(layer.bias) if layer.use_bias else np.zeros(outputs)


def _conv(layer: Any) -> list[Node] | None:
    if not _plain(layer):
        return None
    kernel = _array(layer.kernel)
    bias = _bias(layer, kernel.shape[-1])
    conv = Conv2D(kernel, bias, tuple(layer.strides), layer.padding, layer.name)
    return [conv, *_activation(layer)]


def _depthwise(layer: Any) -> list[Node] | None:
    if not _plain(layer):
        return None
    kernel = _array(layer.kernel)
    bias = _bias(layer, kernel.shape[-2] * kernel.shape[-1])
    conv = DepthwiseConv2D(kernel, bias, tuple(layer.strides), layer.padding, layer.name)
    return [conv, *_activation(layer)]


def _separable(layer: Any) -> list[Node] | None:
    if not _plain(layer):
        return None
    first, second = _array(layer.depthwise_kernel), _array(layer.pointwise_kernel)
    none = np.zeros(first.shape[-2] * first.shape[-1])
    strides, name = tuple(layer.strides), layer.name
    return [
        DepthwiseConv2D(first, none, strides, layer.padding, f"{name}_depthwise"),
        Conv2D(second, _bias(layer, second.shape[-1]), (1, 1), "valid", name),
        *_activation(layer),
    ]


def _dense(layer: Any) -> list[Node] | None:
    kernel = _array(layer.kernel)
    return [Dense(kernel, _bias(layer, kernel.shape[-1]), layer.name), *_activation(layer)]


def _batchnorm(layer: Any) -> list[Node] | None:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return None
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * _array(layer.gamma)
    shift = (_array(layer.beta) if layer.center else 0.0) - mean * scale
    return [Affine(scale, shift, layer.name)]


def _rescaling(layer: Any) -> list[Node] | None:
    scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    if scale.size == offset.size == 1:
        return [Rescale(float(scale.reshape(())), float(offset.reshape(())))]
    if scale.ndim > 1 or offset.ndim > 1:
        return None
    channels = max(scale.size, offset.size)
    return [Affine(np.resize(scale, channels), np.resize(offset, channels), layer.name)]


def _max_pool(layer: Any) -> list[Node] | None:
    if layer.data_format != "channels_last":
        return None
    return [MaxPool2D(tuple(layer.pool_size), tuple(layer.strides), layer.padding)]


def _max_pool_of_volumes(layer: Any) -> list[Node] | None:
    if layer.data_format != "channels_last":
        return None
    return [MaxPool3D(tuple(layer.pool_size), tuple(layer.strides), layer.padding)]


def _average_pool(layer: Any) -> list[Node] | None:
    if layer.data_format != "channels_last":
        return None
    return [AveragePool2D(tuple(layer.pool_size), tuple(layer.strides), layer.padding)]


def _global_average(layer: Any) -> list[Node] | None:
    return [GlobalAveragePool2D(layer.keepdims)] if layer.data_format == "channels_last" else None


def _zero_pad(layer: Any) -> list[Node] | None:
    if layer.data_format != "channels_last":
        return None
    rows, columns = layer.padding
    return [ZeroPad2D(tuple(rows), tuple(columns))]


def _relu(layer: Any) -> list[Node] | None:
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return [Activation("relu")] if plain else None


def _softmax(layer: Any) -> list[Node] | None:
    return [Activation("softmax")] if layer.axis == -1 else None


def _flatten(layer: Any) -> list[Node] | None:
    return [Flatten()] if layer.data_format == "channels_last" else None


def _training_only(layer: Any) -> list[Node] | None:
    return [TrainingOnly(layer.name)]


_TRAINING_ONLY: Final = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout2D",
)
"""Layers that hand their input through at inference; RandomCrop is none of them, it crops."""

_READERS: Final[dict[str, Callable[[Any], list[Node] | None]]] = {
    "Activation": _activation,
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batchnorm,
    "Conv2D": _conv,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_average,
    "MaxPooling2D": _max_pool,
    "MaxPooling3D": _max_pool_of_volumes,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "SeparableConv2D": _separable,
    "Softmax": _softmax,
    "ZeroPadding2D": _zero_pad,
    **dict.fromkeys(_TRAINING_ONLY, _training_only),
}
"""A reader gives None for options that it has no node for."""
