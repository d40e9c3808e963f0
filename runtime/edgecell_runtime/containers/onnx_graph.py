"""What an ONNX model may not ask of an engine.

An engine that is given bytes looks for external data in the working folder, wherever a tensor may
stand: initializers, attributes, graphs inside attributes. So every message that can hold a tensor
is walked, by the numbers of its fields in onnx.proto; the tensors' contents are skipped.
"""

from edgecell_runtime.containers.protobuf import BYTES, Field, Walk
from edgecell_runtime.errors import FormatError

MAX_DEPTH = 32
"""Of messages inside messages; an exported graph without branches has 5."""

STANDARD_DOMAINS = (b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft")

REFUSED_OPERATORS = (b"EPContext", b"PythonOp", b"PythonOpGrad")
"""Of com.microsoft: the first reads a compiled model from a path, the others run Python."""

# Messages by the field that holds them: which fields of a message hold messages to walk.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_REFUSED = {
    "training": "instructions for training (training_info)",
    "function": "functions of its own",
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
_OPERATOR, _DOMAIN = 4, 7  # of NodeProto


def refuse_hostile(data: bytes) -> None:
    """Refuses a model that would have an engine do more than compute.

    Raises:
        FormatError: It has external data, operators that are not standard, or parts that an
            exported classifier never has.
        ManifestError: It is no protocol buffer message.
    """
    walk = Walk(data)
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise FormatError(
                f"Its graphs are nested more than {MAX_DEPTH} deep, which no exported model is."
            )
        inside = _INSIDE[kind]
        for field in walk.fields(start, end):
            if kind == "tensor":
                _check_tensor(field)
            elif kind == "node":
                _check_node(data, field)
            child = inside.get(field.number)
            if child in _REFUSED:
                raise FormatError(
                    f"It has {_REFUSED[child]}; a model that `edgecell export` writes has none. "
                    "Export it again."
                )
            if child is not None:
                if field.wire_type != BYTES:
                    raise FormatError(f"Its field {field.number} of a {kind} is not as in ONNX.")
                waiting.append((child, field.start, field.end, depth + 1))


def _check_tensor(field: Field) -> None:
    """The place of the data is DEFAULT, 0, and is best not written at all."""
    located = field.number == _DATA_LOCATION and (field.wire_type == BYTES or field.value != 0)
    if field.number == _EXTERNAL_DATA or located:
        raise FormatError(
            "It has external data: a tensor whose numbers lie in another file, which no hash "
            "covers. Expected a model in one file; export it again."
        )


def _check_node(data: bytes, field: Field) -> None:
    if field.number not in (_OPERATOR, _DOMAIN):
        return
    content = data[field.start : min(field.end, field.start + 64)]
    if field.number == _DOMAIN and (field.wire_type != BYTES or content not in STANDARD_DOMAINS):
        raise FormatError(
            f"It has an operator of the domain {content.decode('latin-1')!a}; expected the "
            "standard ones, which an engine brings itself."
        )
    if field.number == _OPERATOR and content in REFUSED_OPERATORS:
        raise FormatError(
            f"It has the operator {content.decode()}, which does more than compute. Use an "
            "artifact from a source that you trust."
        )
