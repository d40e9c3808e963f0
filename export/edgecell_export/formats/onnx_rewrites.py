"""Exact rewrites of what tf2onnx leaves in a float graph, each by its pattern.

What a rewrite does not understand it leaves alone.
"""

import math
from typing import Final

import numpy as np

from edgecell_export.formats.onnx_graph import (
    Model,
    Node,
    add_constant,
    attribute,
    constant,
    drop_unused,
    insert_before,
    only_user,
    shapes,
    users,
)

_ELEMENTWISE: Final = frozenset(
    {"Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus"}
    | {"Softsign", "Clip", "Identity", "Cast", "Abs", "Neg", "Exp", "Sqrt"}
)
"""One tensor in, one of the same shape out, each value by itself."""


def write_erfc_by_erf(model: Model) -> None:
    """Replaces Erfc, which tf2onnx makes of GELU and ONNX does not have: erfc(x) = 1 - erf(x)."""
    from onnx.helper import make_node

    for node in [item for item in model.graph.node if item.op_type == "Erfc"]:
        one = add_constant(model, np.array(1, np.float32), "one")
        erf = f"{node.output[0]}.erf"
        insert_before(model, node, make_node("Erf", list(node.input), [erf]))
        insert_before(model, node, make_node("Sub", [one, erf], list(node.output)))
        model.graph.node.remove(node)


def fix_reshapes(model: Model) -> None:
    """Gives a Reshape whose shape is computed from the batch size a constant shape instead.

    Applies where all sizes but the first are known and the first is the batch, since then a shape
    of (-1, ...) means the same.
    """
    known = shapes(model)
    for node in model.graph.node:
        if node.op_type != "Reshape" or constant(model, node.input[1]) is not None:
            continue
        taken, given = known.get(node.input[0], ()), known.get(node.output[0], ())
        if not taken or not given or taken[0] is not None:
            continue
        if None in taken[1:] or None in given[1:] or given[0] is not None:
            continue
        if _count(taken[1:]) == _count(given[1:]):
            sizes = np.array([-1, *given[1:]], np.int64)
            node.input[1] = add_constant(model, sizes, node.input[1])
    drop_unused(model)


def join_dense_biases(model: Model) -> None:
    """Makes one Gemm of a MatMul with stored weights and the Add of a stored bias behind it."""
    import onnx

    known = shapes(model)
    for product in [node for node in model.graph.node if node.op_type == "MatMul"]:
        weights = constant(model, product.input[1])
        add = only_user(model, product.output[0])
        if weights is None or weights.ndim != 2 or len(known.get(product.input[0], ())) != 2:
            continue
        if add is None or add.op_type != "Add" or add.input[0] == add.input[1]:
            continue
        name = add.input[1] if add.input[0] == product.output[0] else add.input[0]
        bias = constant(model, name)
        if bias is None or bias.size != weights.shape[1] or bias.shape[-1:] != (bias.size,):
            continue
        if bias.ndim > 2:
            continue
        flat = add_constant(model, bias.reshape(-1), name)
        gemm = onnx.helper.make_node(
            "Gemm", [*product.input, flat], [add.output[0]], name=product.name
        )
        insert_before(model, add, gemm)
        model.graph.node.remove(product)
        model.graph.node.remove(add)
    drop_unused(model)


def drop_transposes_before_dense(model: Model) -> None:
    """Drops a Transpose in front of a flattening: the rows of the dense weights move instead.

    The pattern, in which nothing has another user, and the batch stays first:
    Transpose, elementwise nodes, Reshape to (-1, N), elementwise nodes, and MatMul or Gemm with
    stored weights.
    """
    known = shapes(model)
    for transpose in [node for node in model.graph.node if node.op_type == "Transpose"]:
        order = attribute(transpose, "perm", None)
        taken = known.get(transpose.input[0], ())
        if not order or order[0] != 0 or len(taken) < 2 or None in taken[1:]:
            continue
        flatten = _behind_elementwise(model, transpose)
        if flatten is None or not _flattens(model, flatten):
            continue
        dense = _behind_elementwise(model, flatten)
        weights = None if dense is None else constant(model, dense.input[1])
        if dense is None or weights is None or dense.op_type not in ("MatMul", "Gemm"):
            continue
        axis = 1 if attribute(dense, "transB", 0) else 0
        count = _count(taken[1:])
        if attribute(dense, "transA", 0) or weights.ndim != 2 or weights.shape[axis] != count:
            continue
        sizes = [int(size or 0) for size in taken[1:]]
        places = np.arange(count).reshape(sizes).transpose([p - 1 for p in order[1:]])
        old_places = np.argsort(places.reshape(-1))
        dense.input[1] = add_constant(model, weights.take(old_places, axis), dense.input[1])
        for user in users(model, transpose.output[0]):
            user.input[0] = transpose.input[0]
        model.graph.node.remove(transpose)
    _forget_shapes(model)
    drop_unused(model)


def _behind_elementwise(model: Model, node: Node) -> Node | None:
    """The node behind another one and its elementwise followers, if there is but one way on."""
    following = only_user(model, node.output[0])
    while following is not None and following.op_type in _ELEMENTWISE:
        if any(constant(model, name) is None for name in following.input[1:] if name):
            return None
        following = only_user(model, following.output[0])
    return following


def _flattens(model: Model, node: Node) -> bool:
    if node.op_type == "Flatten":
        return bool(attribute(node, "axis", 1) == 1)
    shape = constant(model, node.input[1]) if node.op_type == "Reshape" else None
    if shape is None or shape.shape != (2,):
        return False
    return bool(shape[0] == -1 or (shape[0] == 0 and not attribute(node, "allowzero", 0)))


def _forget_shapes(model: Model) -> None:
    """Drops stored shapes of tensors between, which a rewrite made wrong."""
    del model.graph.value_info[:]


def _count(sizes: tuple[int | None, ...]) -> int:
    return math.prod(size or 0 for size in sizes)
