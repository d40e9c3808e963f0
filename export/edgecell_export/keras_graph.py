"""A trained Keras model as a graph: follows its tensors from the answer back to the image."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgecell_export.keras_readers import read_join, read_layer, read_operation
from edgecell_export.prepare.graph import IMAGE, Chain, Graph, Part
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import Conv2D, Dense, DepthwiseConv2D, Node
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError

KerasModel = Any
"""``keras.Model``; Keras ships no types that mypy can follow."""

KerasTensor = Any


def read_graph(model: KerasModel) -> Graph:
    """Describes a trained Keras model.

    Args:
        model: A built model with one output and one input of shape (batch, height, width,
            channels), or (batch, depth, height, width, channels) for volumes. Models inside of it
            are opened; layers without a node of their own are carried along.

    Raises:
        PreparationError: It has other inputs or outputs, or a layer that cannot be described.
    """
    shape = _input_shape(model)
    values = _Walk(model).values
    taken = [source for value in values for source in value.sources]
    parts: list[Part] = []
    part_of: dict[int, int] = {IMAGE: IMAGE}
    ends: dict[int, int] = {}  # the value that a part ends with
    for index, value in enumerate(values):
        source = value.sources[0]
        before = part_of[source]
        if len(value.sources) == 1 and before != IMAGE and taken.count(source) == 1:
            chain = parts[before].chain
            parts[before] = replace(
                parts[before], chain=chain.with_nodes(*chain.nodes, *value.nodes)
            )
            part_of[index] = before
        else:
            sources = tuple(part_of[item] for item in value.sources)
            white = 255.0 if value.join is None and source == IMAGE else None
            chain = Chain(value.input_shape, value.nodes, white)
            parts.append(Part(chain, sources, value.join))
            part_of[index] = len(parts) - 1
        ends[part_of[index]] = index
    return _with_unique_names(Graph(shape, tuple(parts)))


@dataclass(frozen=True)
class _Value:
    """One layer's answer: what it is computed from, and by what."""

    sources: tuple[int, ...]
    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    join: KerasLayer | None = None


class _Walk:
    """Follows tensors back to the image, through models inside of the model."""

    def __init__(self, model: KerasModel) -> None:
        self.values: list[_Value] = []
        self._known: dict[int, int] = {id(model.inputs[0]): IMAGE}
        if self._follow(model.outputs[0], self._known) == IMAGE:
            raise PreparationError("The model gives its image back; expected layers in between.")

    def _follow(self, tensor: KerasTensor, known: dict[int, int]) -> int:
        if id(tensor) in known:
            return known[id(tensor)]
        operation, index, place = tensor._keras_history
        call = operation._inbound_nodes[index]
        if isinstance(operation, import_keras().Model) and hasattr(operation, "outputs"):
            outer = [self._follow(item, known) for item in call.input_tensors]
            inner = {id(a): b for a, b in zip(operation.inputs, outer, strict=True)}
            known[id(tensor)] = self._follow(operation.outputs[place], inner)
            return known[id(tensor)]
        _require_plain_call(operation, call)
        sources = tuple(self._follow(item, known) for item in call.input_tensors)
        self.values.append(_value(operation, call, sources))
        known[id(tensor)] = len(self.values) - 1
        return known[id(tensor)]


def _value(operation: Any, call: Any, sources: tuple[int, ...]) -> _Value:
    tensors = call.input_tensors
    if len(tensors) > 1 or isinstance(call.arguments.args[0], list | tuple):
        shape = tuple(call.output_tensors[0].shape[1:])
        return _Value(sources, shape, (), read_join(operation))
    shape = tuple(tensors[0].shape[1:])
    if isinstance(operation, import_keras().layers.Layer):
        return _Value(sources, shape, tuple(read_layer(operation)))
    return _Value(sources, shape, tuple(read_operation(operation, call.arguments.args)))


def _require_plain_call(operation: Any, call: Any) -> None:
    odd = [k for k, v in call.arguments.kwargs.items() if k != "training" and v is not None]
    positional = call.arguments.args
    if isinstance(operation, import_keras().layers.Layer) and len(positional) > 1:
        odd.append(f"{len(positional)} arguments in a row")
    if odd or len(call.output_tensors) != 1 or not call.input_tensors:
        raise PreparationError(
            f"The layer {operation.name} is called with {', '.join(odd) or 'several outputs'}; "
            "expected layers that make one tensor of one, or of a list, without further arguments."
        )


def _input_shape(model: KerasModel) -> tuple[int, ...]:
    if not getattr(model, "built", False) or not hasattr(model, "outputs"):
        raise PreparationError(
            f"The model {model.name} is a {type(model).__name__} without a known input; expected a "
            "Sequential or Functional model that starts with keras.Input."
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(shape) not in (3, 4):
        raise PreparationError(
            f"The model takes {len(model.inputs)} inputs (the first of shape {shape}) and gives "
            f"{len(model.outputs)} outputs; expected one image in and one output."
        )
    if None in shape:
        raise PreparationError(
            f"The model takes images of any size ({shape}); expected a fixed height and width."
        )
    return shape


def _with_unique_names(graph: Graph) -> Graph:
    """Numbers the layers that share a name: one that is used twice, or in models inside."""
    names = {"image"}  # which the built model calls its input

    def unique(name: str) -> str:
        found, number = name, 1
        while found in names:
            number += 1
            found = f"{name}_{number}"
        names.add(found)
        return found

    def renamed(nodes: tuple[Node, ...]) -> Iterator[Node]:
        for node in nodes:
            if isinstance(node, Conv2D | DepthwiseConv2D | Dense | KerasLayer):
                yield replace(node, name=unique(node.name))
            else:
                yield node

    return graph.map(lambda chain: chain.with_nodes(*renamed(chain.nodes)))
