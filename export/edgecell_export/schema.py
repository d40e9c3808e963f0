"""The manifest's JSON Schema, draft 2020-12, made from the dataclasses that the codec reads.

``python -m edgecell_export.schema`` prints it; ``export/manifest.schema.json`` is what it printed.
Whatever the reader takes is valid. The reader refuses more than the schema can, see ``_COMMENT``.
"""

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping

from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.manifest import Manifest

IDENTIFIER = "urn:edgecell:manifest:1"
"""Of the schema; the number is the manifest's ``schema_version``."""

_COMMENT = (
    "Made by `python -m edgecell_export.schema`; do not edit. edgecell's reader refuses more than "
    "a schema can: a key that appears twice, 1.0 for an integer, a number that a 64-bit float "
    "cannot hold, half a surrogate pair, a document that is too large, values out of range, and "
    "values that do not fit one another."
)

_NAMES: dict[object, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def manifest_schema() -> dict[str, Json]:
    """The schema of a manifest."""
    return json_schema(Manifest, IDENTIFIER)


def json_schema(kind: type, identifier: str) -> dict[str, Json]:
    """The schema of a dataclass, as ``edgecell_runtime.codec`` reads and writes it.

    Args:
        kind: The dataclass; descriptions come from docstrings.
        identifier: The schema's ``$id``.

    Raises:
        TypeError: It holds a type that the codec does not read, or two classes of one name.
    """
    found: dict[str, type] = {}
    _collect(kind, found)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": identifier,
        "$comment": _COMMENT,
        "$ref": f"#/$defs/{kind.__name__}",
        "$defs": {name: _object_schema(item) for name, item in found.items()},
    }


def _collect(kind: object, found: dict[str, type]) -> None:
    """Adds every dataclass that a type holds, by name, in the order of the fields."""
    for argument in typing.get_args(kind):
        _collect(argument, found)
    if not (dataclasses.is_dataclass(kind) and isinstance(kind, type)):
        return
    if kind.__name__ not in found:
        found[kind.__name__] = kind
        for hint in typing.get_type_hints(kind).values():
            _collect(hint, found)
    elif found[kind.__name__] is not kind:
        raise TypeError(f"two classes are named {kind.__name__}; a schema takes one of a name.")


def _object_schema(kind: type) -> Json:
    hints, documented = typing.get_type_hints(kind), _documented(kind)
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for field in dataclasses.fields(kind):
        schema = _type_schema(hints[field.name])
        if field.name in documented:
            schema["description"] = documented[field.name]
        if field.default is not dataclasses.MISSING:
            schema["default"] = codec.encode(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            schema["default"] = codec.encode(field.default_factory())
        else:
            required.append(field.name)
        properties[field.name] = schema
    return {
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type_schema(kind: object) -> dict[str, Json]:
    """The schema of one type; the cases are those of the codec's reader, in its order."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_schema(arguments)
    if origin is tuple:
        return _tuple_schema(arguments)
    if origin is typing.Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    if kind in _NAMES:
        return {"type": _NAMES[kind]}
    raise TypeError(f"{kind} has no JSON form; the codec reads none.")


def _union_schema(arguments: tuple[object, ...]) -> dict[str, Json]:
    if all(item in _NAMES for item in arguments):
        return {"type": [_NAMES[item] for item in arguments]}
    return {"anyOf": [_type_schema(item) for item in arguments]}


def _tuple_schema(arguments: tuple[object, ...]) -> dict[str, Json]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _type_schema(arguments[0])}
    items: list[Json] = [_type_schema(item) for item in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}


def _documented(kind: type) -> dict[str, str]:
    """The ``Attributes:`` of a Google style docstring, each on one line."""
    _, _, section = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def main() -> None:
    """Prints the manifest's schema."""
    text = codec.dumps(manifest_schema(), indent=2) + "\n"
    sys.stdout.buffer.write(text.encode())  # bytes: the same under every locale and system


if __name__ == "__main__":
    main()
