"""What a SavedModel may not ask of TensorFlow.

A SavedModel is a program: its operators can read and write files, run Python, print, or open
connections, when it is loaded or when it is called. So its graph is read first, with TensorFlow's
own message classes, which run nothing. TensorFlow itself says of each operator whether it does more
than compute (it is "stateful"); of those, a few that handle weights are allowed, and of the
others, those that take text, such as a path, and a few more are not.
"""

from collections.abc import Iterator
from typing import Any

from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.errors import EngineError, FormatError

_WEIGHTS = frozenset(
    {
        "AssignVariableOp",
        "DisableCopyOnRead",
        "PartitionedCall",
        "Placeholder",
        "ReadVariableOp",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "VarIsInitializedOp",
    }
)
"""Stateful operators that every SavedModel has."""

_SAVER = frozenset(
    {
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "StaticRegexFullMatch",
        "StringJoin",
    }
)
"""They write and delete files; the two functions that save and restore have them, and no other."""

_TOUCHING = (
    "Abort",
    "Dataset",
    "Debug",
    "File",
    "ImmutableConst",
    "Print",
    "Proto",
    "PyFunc",
    "Reader",
    "Remote",
    "Restore",
    "Rpc",
    "Save",
    "Sharded",
    "VocabRemapping",
)
"""Parts of the names of operators that touch more than numbers, stateful or not."""


def refuse_hostile(serialised: bytes) -> None:
    """Refuses a graph that would do more than compute.

    Args:
        serialised: The bytes of ``saved_model.pb``.

    Raises:
        FormatError: It is no SavedModel of version 2 of TensorFlow, or has an operator that
            touches files, processes, Python or the network.
        EngineError: It is no SavedModel at all.
    """
    graph = _parse(serialised)
    saver = _saver_functions(graph)
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    for node in graph.graph_def.node:
        _check(node, functions)
    for name, function in functions.items():
        allowed = _SAVER if name in saver else frozenset[str]()
        for node in function.node_def:
            _check(node, functions, allowed)
            if saver & set(_called(node)):
                raise _refusal(f"calls {min(saver & set(_called(node)))!a}, which writes files")


def _parse(serialised: bytes) -> Any:
    """The one graph of a SavedModel."""
    import_tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel()
    try:
        model.ParseFromString(serialised)
    except Exception as error:  # protocol buffers raise of several kinds
        raise EngineError(f"TensorFlow refuses the SavedModel: {error}.") from error
    # TensorFlow loads anything else in the way of its version 1, which runs the outer graph.
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].object_graph_def.nodes:
        raise _refusal("has several graphs, or none that names its objects")
    graph = model.meta_graphs[0]
    if graph.asset_file_def:
        raise _refusal("names files of its own")
    return graph


def _saver_functions(graph: Any) -> frozenset[str]:
    """The functions that the saver calls, where nothing else can call them."""
    names = {
        graph.saver_def.save_tensor_name.partition(":")[0],
        graph.saver_def.restore_op_name.partition(":")[0],
    }
    inside, outside = set[str](), set(graph.object_graph_def.concrete_functions)
    for node in graph.graph_def.node:
        (inside if node.name in names else outside).update(_called(node))
    return frozenset(inside - outside)


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (item.name for item in value.list.func)


def _check(node: Any, functions: Any, allowed: frozenset[str] = frozenset()) -> None:
    """Refuses a node whose operator does more than compute, or is unknown."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow.python.framework import op_def_registry

    if node.op in allowed or node.op in _WEIGHTS or node.op in functions:
        return
    definition = op_def_registry.get(node.op)
    if (
        definition is None
        or definition.is_stateful
        or any(part in node.op for part in _TOUCHING)
        or any(argument.type == DT_STRING for argument in definition.input_arg)
    ):
        raise _refusal(f"has the operator {node.op[:80]!a}, which may do more than compute")


def _refusal(reason: str) -> FormatError:
    return FormatError(
        f"The SavedModel {reason}; one that `edgecell export` writes has no such thing. Use an "
        "artifact from a source that you trust."
    )
