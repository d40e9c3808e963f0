"""Which node of an ONNX graph computes which layer of the Keras model."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from edgecell_export.formats.onnx_graph import KERNELS, Model, Node, constant
from edgecell_runtime.errors import ConversionError

_NUMBERED: Final = re.compile(r"(.+)_\d+")
"""Keras appends a number to a layer's name when it traces a model again."""


def layer_of(node: Node) -> str:
    """The layer that a node of ``name_layers`` computes."""
    return str(node.name.partition("/")[0])


def kernels(model: Model) -> list[Node]:
    """The nodes that hold a layer's weights."""
    return [
        node
        for node in model.graph.node
        if node.op_type in KERNELS and constant(model, node.input[1]) is not None
    ]


def name_layers(model: Model, layers: Collection[str]) -> None:
    """Names each kernel after its layer; a second one of the same layer becomes ``layer/2``.

    tf2onnx keeps the path of Keras's name scopes, ``model_1/first_1/convolution``. Whether there is
    a number behind the layer's name depends on how often the model was traced, and a layer's own
    name may end in one; the reading that finds more of the layers is the right one.

    Args:
        model: A float graph as tf2onnx wrote it, or rewritten.
        layers: The names to look for; kernels of none get a number.
    """
    nodes = kernels(model)
    scopes = [node.name.split("/") for node in nodes]
    plain = [_first_known(scope, layers) for scope in scopes]
    unnumbered = [
        _first_known((_NUMBERED.sub(r"\1", part) for part in scope), layers) for scope in scopes
    ]
    found = max(unnumbered, plain, key=lambda names: len(set(names) - {None}))
    counts: dict[str, int] = {}
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}:{index}"  # a layer's name could not hold a colon
    for node, name in zip(nodes, found, strict=True):
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
            node.name = name if counts[name] == 1 else f"{name}/{counts[name]}"


def in_layers(model: Model, layers: Collection[str]) -> list[Node]:
    """The kernels of the given layers.

    Raises:
        ConversionError: A layer has none.
    """
    found = [node for node in kernels(model) if layer_of(node) in layers]
    missing = sorted(set(layers) - {layer_of(node) for node in found})
    if missing:
        known = ", ".join(layer_of(node) for node in kernels(model))
        raise ConversionError(
            f"The ONNX graph has no layer {missing[0]} with weights to leave in float; its layers "
            f"are {known}."
        )
    return found


def _first_known(scope: Iterable[str], layers: Collection[str]) -> str | None:
    return next((part for part in scope if part in layers), None)
