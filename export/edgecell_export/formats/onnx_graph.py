"""Reading and editing ONNX graphs: what the conversions and their rewrites share."""

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Model = Any
"""``onnx.ModelProto``; onnx is imported late."""

Node = Any
"""``onnx.NodeProto``."""

INPUT: Final = "image"
OUTPUT: Final = "logits"

KERNELS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose second input holds a layer's weights."""


def users(model: Model, name: str) -> list[Node]:
    """The nodes that take a tensor."""
    return [node for node in model.graph.node if name in node.input]


def producer(model: Model, name: str) -> Node | None:
    """The node that gives a tensor; None for inputs and constants."""
    return next((node for node in model.graph.node if name in node.output), None)


def only_user(model: Model, name: str) -> Node | None:
    """The one node that takes a tensor; None where there are more, none, or it is an output."""
    found = users(model, name)
    given = any(value.name == name for value in model.graph.output)
    return found[0] if len(found) == 1 and not given else None


def constant(model: Model, name: str) -> NDArray[Any] | None:
    """The value of a stored tensor; None for one that is computed."""
    import onnx

    for item in model.graph.initializer:
        if item.name == name:
            return onnx.numpy_helper.to_array(item)
    return None


def add_constant(model: Model, value: NDArray[Any], like: str) -> str:
    """Stores a tensor under a new name, made from the name that it follows."""
    import onnx

    taken = {item.name for item in model.graph.initializer}
    count = 0
    while f"{like}.{count}" in taken:
        count += 1
    value = np.ascontiguousarray(value) if value.ndim else value
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{like}.{count}"))
    return f"{like}.{count}"


def attribute(node: Node, name: str, default: Any) -> Any:
    """The value of a node's attribute, or the default."""
    import onnx

    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def insert_before(model: Model, node: Node, *made: Node) -> None:
    """Puts nodes in front of another one, where its inputs are known."""
    position = list(model.graph.node).index(node)
    for offset, item in enumerate(made):
        model.graph.node.insert(position + offset, item)


def shapes(model: Model) -> dict[str, tuple[int | None, ...]]:
    """Shapes of tensors, as far as ONNX infers them; None stands for an open size."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found: dict[str, tuple[int | None, ...]] = {
        item.name: tuple(item.dims) for item in inferred.initializer
    }
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(
                size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim
            )
    return found


def drop_unused(model: Model) -> None:
    """Drops nodes and stored tensors that no output depends on."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    kept = [item for item in graph.initializer if item.name in needed]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def name_ends(model: Model) -> None:
    """Names the input and the output; every node that uses them follows."""
    rename(model, {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT})


def rename(model: Model, names: dict[str, str]) -> None:
    """Renames tensors wherever they stand."""
    graph = model.graph
    for node in graph.node:
        for part in (node.input, node.output):
            for index, name in enumerate(part):
                part[index] = names.get(name, name)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


def set_batch(model: Model, batch: int) -> None:
    """Fixes the batch size, or leaves it open under the name ``batch`` for 0."""
    for value in (*model.graph.input, *model.graph.output):
        size = value.type.tensor_type.shape.dim[0]
        if batch:
            size.dim_value = batch
        else:
            size.dim_param = "batch"


def canonical_bytes(model: Model, layers: Collection[str], output: str = OUTPUT) -> bytes:
    """Serialises a model so that the same graph gives the same bytes in every process.

    Converters number their names from counters and hashes; here names follow the order of nodes,
    and what nothing uses or what names the converter is dropped.

    Args:
        model: Changed in place.
        layers: Names of layers; a kernel of one keeps it as its name.
        output: The name to give the output.
    """
    import onnx

    graph = model.graph
    drop_unused(model)
    stored = {item.name: item for item in graph.initializer}
    names: dict[str, str] = {INPUT: INPUT, OUTPUT: output, "": ""}
    ordered: list[Any] = []
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name in stored and name not in names:
                names[name] = f"constant_{len(ordered)}"
                ordered.append(stored[name])
        for position, name in enumerate(node.output):
            names.setdefault(name, f"tensor_{index}_{position}")
        if node.name.partition("/")[0] not in layers:
            node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
        attributes = sorted(node.attribute, key=lambda item: item.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    del graph.value_info[:]
    rename(model, names)
    graph.name, graph.doc_string, model.doc_string = "edgecell", "", ""
    model.producer_name, model.producer_version = "edgecell", ""
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
