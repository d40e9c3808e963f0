"""Keras models to chains and back: the only place that knows both."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from edgecell_export.prepare.chain import (
    Activation,
    Affine,
    Array,
    Chain,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Node,
    Rescale,
    Shift,
    TrainingOnly,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError

KerasModel = Any
"""``keras.Model``; Keras ships no types that mypy can follow."""

KerasTensor = Any


def read_chain(model: KerasModel) -> Chain:
    """Describes a trained Keras model as a chain.

    Args:
        model: A built model with one input of shape (batch, height, width, channels), whose layers
            feed one another in a line.

    Raises:
        PreparationError: The model branches, or has a layer that is not understood.
    """
    shape = _input_shape(model)
    nodes: list[Node] = []
    for layer in _layers_in_line(model):
        read = _READERS.get(type(layer).__name__)
        if read is None:
            raise PreparationError(
                f"The layer {layer.name} is a {type(layer).__name__}; the layers that can be "
                f"exported are {', '.join(sorted(_READERS))}."
            )
        nodes += read(layer)
    return Chain(shape, tuple(nodes))


def build_model(
    chain: Chain, *, input_dtype: Literal["uint8", "float32"], batch: int | None
) -> KerasModel:
    """Builds a chain as a Keras model for inference, with float32 weights.

    Args:
        chain: What to build.
        input_dtype: Of the input; uint8 pixels are cast inside the graph.
        batch: A fixed batch size; None leaves it open.
    """
    keras = import_keras()
    image = keras.Input(batch_shape=(batch, *chain.input_shape), dtype=input_dtype, name="image")
    tensor = keras.ops.cast(image, "float32") if input_dtype != "float32" else image
    for index, node in enumerate(chain.nodes):
        name = getattr(node, "name", "") or f"{type(node).__name__.lower()}_{index}"
        tensor = _build(keras, node, tensor, name)
    return keras.Model(image, tensor, name="edgecell")


def layer_names(chain: Chain) -> list[str]:
    """Names of the layers with weights, as ``build_model`` gives them to Keras."""
    return [node.name for node in chain.nodes if isinstance(node, Conv2D | Dense)]


def _input_shape(model: KerasModel) -> tuple[int, int, int]:
    if not getattr(model, "built", False) or not hasattr(model, "outputs"):
        raise PreparationError(
            f"The model {model.name} is a {type(model).__name__} without a known input; expected a "
            "Sequential or Functional model that starts with keras.Input."
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(shape) != 3:
        raise PreparationError(
            f"The model takes {len(model.inputs)} inputs (the first of shape {shape}) and gives "
            f"{len(model.outputs)} outputs; expected one image in and one output."
        )
    if None in shape:
        raise PreparationError(
            f"The model takes images of any size ({shape}); expected a fixed height and width."
        )
    height, width, channels = shape
    return height, width, channels


def _layers_in_line(model: KerasModel) -> Sequence[Any]:
    """The layers from the image to the output, found from the output backwards.

    ``model.layers`` would do for models made of layers only: it leaves out bare operations such as
    ``image / 255``, and names a layer that is used twice once.
    """
    if isinstance(model, import_keras().Sequential):
        return [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    layers: list[Any] = []
    tensor = model.outputs[0]
    while tensor is not model.inputs[0]:
        layer, index, _ = tensor._keras_history
        taken = layer._inbound_nodes[index].input_tensors
        if len(taken) != 1:
            raise PreparationError(
                f"The model branches: {layer.name} takes {len(taken)} inputs; only models whose "
                "layers feed one another in a line can be exported."
            )
        layers.insert(0, layer)
        tensor = taken[0]
    return layers


def _array(values: Any) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise PreparationError(
            "The model holds weights that are not numbers; its training diverged. Train it again "
            "with a lower learning rate."
        )
    return array


def _kernel_and_bias(layer: Any) -> tuple[Array, Array]:
    kernel = _array(layer.kernel)
    bias = _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])
    return kernel, bias


def _activation(layer: Any) -> list[Node]:
    name: Any = getattr(layer.activation, "__name__", type(layer.activation).__name__)
    if name == "linear":
        return []
    if name not in ("relu", "sigmoid", "softmax"):
        raise PreparationError(
            f"The layer {layer.name} has the activation {name}; relu, sigmoid and softmax can be "
            "exported."
        )
    return [Activation(name)]


def _read_conv(layer: Any) -> list[Node]:
    if tuple(layer.dilation_rate) != (1, 1) or layer.groups != 1:
        raise PreparationError(f"The layer {layer.name} is dilated or grouped; expected neither.")
    _require_channels_last(layer)
    kernel, bias = _kernel_and_bias(layer)
    return [
        Conv2D(kernel, bias, tuple(layer.strides), layer.padding, layer.name),
        *_activation(layer),
    ]


def _read_rescaling(layer: Any) -> list[Node]:
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        raise PreparationError(
            f"The layer {layer.name} rescales each channel by itself; expected one factor for all."
        )
    return [Rescale(float(layer.scale), float(layer.offset))]


def _read_pool(layer: Any) -> list[Node]:
    _require_channels_last(layer)
    return [MaxPool2D(tuple(layer.pool_size), tuple(layer.strides), layer.padding)]


def _read_batchnorm(layer: Any) -> list[Node]:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        raise PreparationError(
            f"The layer {layer.name} normalises axis {layer.axis}; expected the last, the channels."
        )
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * _array(layer.gamma)
    shift = (_array(layer.beta) if layer.center else 0.0) - mean * scale
    return [Affine(scale, shift)]


def _read_relu(layer: Any) -> list[Node]:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise PreparationError(
            f"The layer {layer.name} is a ReLU with options; expected a plain one."
        )
    return [Activation("relu")]


def _read_flatten(layer: Any) -> list[Node]:
    _require_channels_last(layer)
    return [Flatten()]


def _require_channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise PreparationError(f"The layer {layer.name} takes channels first; expected last.")


def _read_training_only(layer: Any) -> list[Node]:
    return [TrainingOnly(layer.name)]


_READERS: dict[str, Callable[[Any], list[Node]]] = {
    "Rescaling": _read_rescaling,
    "Conv2D": _read_conv,
    "Dense": lambda layer: [Dense(*_kernel_and_bias(layer), layer.name), *_activation(layer)],
    "BatchNormalization": _read_batchnorm,
    "ReLU": _read_relu,
    "Activation": _activation,
    "MaxPooling2D": _read_pool,
    "Flatten": _read_flatten,
    "Dropout": _read_training_only,
    "SpatialDropout2D": _read_training_only,
    "GaussianNoise": _read_training_only,
}


def _build(keras: Any, node: Node, tensor: KerasTensor, name: str) -> KerasTensor:
    """Adds one node to a Keras graph."""
    layers, ops = keras.layers, keras.ops
    match node:
        case Conv2D(kernel=kernel, bias=bias):
            conv = layers.Conv2D(
                kernel.shape[3], kernel.shape[:2], node.strides, node.padding, name=name
            )
            tensor = conv(tensor)
            conv.set_weights([kernel, bias])
        case Dense(kernel=kernel, bias=bias):
            dense = layers.Dense(kernel.shape[1], name=name)
            tensor = dense(tensor)
            dense.set_weights([kernel, bias])
        case MaxPool2D():
            tensor = layers.MaxPooling2D(node.size, node.strides, node.padding, name=name)(tensor)
        case Activation():
            tensor = layers.Activation(node.kind, name=name)(tensor)
        case Rescale():
            tensor = ops.add(ops.multiply(tensor, node.scale), node.offset)
        case Affine():
            scale, shift = node.scale.astype(np.float32), node.shift.astype(np.float32)
            tensor = ops.add(ops.multiply(tensor, scale), shift)
        case Shift():
            tensor = ops.add(tensor, node.shift.astype(np.float32))
        case Flatten():
            # With a known length no format needs arithmetic on shapes.
            tensor = ops.reshape(tensor, (-1, int(np.prod(tensor.shape[1:]))))
        case TrainingOnly():
            pass
    return tensor
