"""A prepared graph as a Keras model for inference, which converters take."""

from typing import Any, Literal

import numpy as np

from edgecell_export.keras_graph import KerasModel, KerasTensor
from edgecell_export.prepare.graph import IMAGE, Graph
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    DivideBySum,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    Maximum,
    MaxPool2D,
    MaxPool3D,
    Node,
    Rescale,
    Shift,
    ZeroPad2D,
)
from edgecell_export.tensorflow import import_keras


def layer_names(graph: Graph) -> list[str]:
    """Names of the layers with weights, in the order of computation, as Keras gets them."""
    return [
        node.name
        for part in graph.parts
        for node in part.chain.nodes
        if isinstance(node, Conv2D | DepthwiseConv2D | Dense)
    ]


def build_model(
    graph: Graph, *, input_dtype: Literal["uint8", "float32"], batch: int | None
) -> KerasModel:
    """Builds a graph as a Keras model for inference, with float32 weights.

    Args:
        graph: What to build.
        input_dtype: Of the input; uint8 pixels are cast inside the graph.
        batch: A fixed batch size; None leaves it open.
    """
    keras = import_keras()
    image = keras.Input(batch_shape=(batch, *graph.input_shape), dtype=input_dtype, name="image")
    start = keras.ops.cast(image, "float32") if input_dtype != "float32" else image
    tensors: dict[int, KerasTensor] = {IMAGE: start}
    for index, part in enumerate(graph.parts):
        taken = [tensors[source] for source in part.sources]
        tensor = taken[0] if part.join is None else build_layer(part.join, taken, f"join.{index}")
        for place, node in enumerate(part.chain.nodes):
            tensor = build_node(node, tensor, f"{type(node).__name__.lower()}.{index}.{place}")
        tensors[index] = tensor
    return keras.Model(image, tensors[len(graph.parts) - 1], name="edgecell")


def build_node(node: Node, tensor: KerasTensor, name: str) -> KerasTensor:
    """Adds one node to a Keras graph; a layer that has no name of its own gets this one."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    match node:
        case Conv2D() | DepthwiseConv2D() | Dense():
            tensor = build_kernel(node, tensor)
        case KerasLayer():
            tensor = build_layer(node, tensor, node.name)
        case MaxPool2D() | AveragePool2D() | GlobalAveragePool2D():
            tensor = _build_pool(layers, node, tensor, name)
        case MaxPool3D():
            pool = layers.MaxPooling3D(node.size, node.strides, node.padding, name=name)
            tensor = pool(tensor)
        case ZeroPad2D():
            tensor = layers.ZeroPadding2D((node.rows, node.columns), name=name)(tensor)
        case Activation():
            tensor = layers.Activation(node.kind, name=name)(tensor)
        case Rescale():
            tensor = ops.add(ops.multiply(tensor, node.scale), node.offset)
        case Affine():
            scale, shift = node.scale.astype(np.float32), node.shift.astype(np.float32)
            tensor = ops.add(ops.multiply(tensor, scale), shift)
        case Shift():
            tensor = ops.add(tensor, node.shift.astype(np.float32))
        case Maximum():
            tensor = ops.maximum(tensor, node.level.astype(np.float32))
        case DivideBySum():
            tensor = ops.divide(tensor, ops.sum(tensor, axis=-1, keepdims=True))
        case Flatten():
            # With a known length no format needs arithmetic on shapes.
            tensor = ops.reshape(tensor, (-1, int(np.prod(tensor.shape[1:]))))
    return tensor


def build_kernel(node: Layer, tensor: KerasTensor, activation: str | None = None) -> KerasTensor:
    """Adds a layer with weights, under its own name, and an activation that is part of it."""
    layers, kernel = import_keras().layers, node.kernel
    match node:
        case Conv2D():
            size = kernel.shape[:2]
            layer = layers.Conv2D(kernel.shape[3], size, node.strides, node.padding, name=node.name)
        case DepthwiseConv2D():
            layer = layers.DepthwiseConv2D(
                kernel.shape[:2], node.strides, node.padding, kernel.shape[3], name=node.name
            )
        case Dense():
            layer = layers.Dense(kernel.shape[1], name=node.name)
    layer.activation = import_keras().activations.get(activation)
    tensor = layer(tensor)
    layer.set_weights([kernel, node.bias])
    return tensor


def _build_pool(
    layers: Any,
    node: MaxPool2D | AveragePool2D | GlobalAveragePool2D,
    tensor: KerasTensor,
    name: str,
) -> KerasTensor:
    if isinstance(node, GlobalAveragePool2D):
        return layers.GlobalAveragePooling2D(keepdims=node.keep_dimensions, name=name)(tensor)
    kind = layers.MaxPooling2D if isinstance(node, MaxPool2D) else layers.AveragePooling2D
    return kind(node.size, node.strides, node.padding, name=name)(tensor)


def build_layer(node: KerasLayer, tensors: KerasTensor, name: str) -> KerasTensor:
    """Makes a carried layer again, for inference, under a name."""
    layer = node.create("float32")
    layer.name = name
    return node.call(layer, tensors)
