"""A prepared graph as a model of Keras's own layers, which can be trained on, saved and read again.

Converters take what ``keras_build`` makes, with arithmetic between the layers. Here each step is a
layer, a ReLU is part of the layer that it follows, and pixels are made fractions in front, since
weights that take pixels as they are would be too small to train.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgecell_export.keras_build import build_kernel, build_layer, build_node
from edgecell_export.keras_graph import KerasModel, KerasTensor
from edgecell_export.prepare import Graph, taking_fractions
from edgecell_export.prepare.end_in_logits import ACTIVATION_OF
from edgecell_export.prepare.graph import IMAGE, Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Rescale,
    Shift,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head

FRACTIONS: Final = "fractions"
"""The layer that makes pixels, 0-255, fractions."""

PROBABILITIES: Final = "probabilities"
"""The layer that is the head's activation."""


def build_trainable(graph: Graph, head: Head) -> KerasModel:
    """Builds a graph from pixels to logits as a model that ends in the head's activation.

    Args:
        graph: Prepared, in a form for integers or as it is.
        head: What takes over from the logits.

    Returns:
        A functional model of Keras's own layers, float32, that takes pixels, 0-255.
    """
    keras = import_keras()
    image = keras.Input(graph.input_shape, name="image")
    graph = taking_fractions(graph)
    fractions = keras.layers.Rescaling(1 / 255, name=FRACTIONS)(image)
    tensors: dict[int, KerasTensor] = {IMAGE: fractions}
    for index, part in enumerate(graph.parts):
        taken = [tensors[source] for source in part.sources]
        tensor = taken[0]
        if part.join is not None:
            tensor = build_layer(part.join, taken, f"join_{index}")
        for place, step in enumerate(_steps(part.chain)):
            tensor = _build(step, tensor, f"{type(step.node).__name__.lower()}_{index}_{place}")
        tensors[index] = tensor
    activation = keras.layers.Activation(ACTIVATION_OF[head.kind], name=PROBABILITIES)
    return keras.Model(image, activation(tensors[len(graph.parts) - 1]), name="edgecell")


@dataclass(frozen=True)
class _Step:
    """A node, and the activation that becomes part of it."""

    node: Node
    activation: str | None = None


def _steps(chain: Chain) -> Iterator[_Step]:
    """The nodes; what has weights is one with the ReLU behind it, as it is in integers."""
    nodes = [*chain.nodes, None]
    fused = False
    for node, following in itertools.pairwise(nodes):
        assert node is not None
        if fused:
            fused = False
            continue
        fused = isinstance(node, Conv2D | DepthwiseConv2D | Dense) and _is_relu(following)
        yield _Step(node, "relu" if fused else None)


def _build(step: _Step, tensor: KerasTensor, name: str) -> KerasTensor:
    """Adds a step as a layer, where ``keras_build`` has arithmetic for it too."""
    layers, node = import_keras().layers, step.node
    match node:
        case Conv2D() | DepthwiseConv2D() | Dense():
            return build_kernel(node, tensor, step.activation)
        case Rescale():
            return layers.Rescaling(node.scale, node.offset, name=name)(tensor)
        case Affine():
            return layers.Rescaling(node.scale.tolist(), node.shift.tolist(), name=name)(tensor)
        case Shift():
            return layers.Rescaling(1.0, node.shift.tolist(), name=name)(tensor)
        case Flatten():
            return layers.Flatten(name=name)(tensor)
    return build_node(node, tensor, name)


def _is_relu(node: Node | None) -> bool:
    return isinstance(node, Activation) and node.kind == "relu"
