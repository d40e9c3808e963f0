"""Frozen dataclasses to JSON and back, strictly.

A document is decoded against the dataclass's own type hints: an unknown key, a missing key without
a default, or a value of another type is refused with the place where it stands.
"""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Final, TypeVar, Union

from edgecell_runtime.errors import ManifestError

Scalar = str | int | float | bool | None
Json = Scalar | list["Json"] | dict[str, "Json"]

T = TypeVar("T")

OPTIONAL: Final[Mapping[str, bool]] = {"optional": True}
"""Metadata of a field that came later: it is left out where it is None, so that what has no use for
it keeps its bytes, and an older edgecell reads it."""


def encode(value: object) -> Json:
    """Turns a dataclass, or what one may hold, into a JSON document.

    Raises:
        TypeError: The value holds something that JSON has no form for.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: encode(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not field.metadata.get("optional") or getattr(value, field.name) is not None
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object, *, indent: int | None = None) -> str:
    """The value as JSON text; the same value gives the same text.

    Raises:
        ValueError: A number is not finite; JSON has no form for it.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        encode(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def loads(kind: type[T], text: str | bytes, where: str) -> T:
    """Reads a dataclass from JSON text.

    Args:
        kind: The dataclass.
        text: JSON, UTF-8 where it is bytes.
        where: What the text is, for error messages, such as "manifest".

    Raises:
        ManifestError: The text is not JSON, or not a ``kind``.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()  # json would take UTF-16 and UTF-32 too
        document = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates
        )
        # A lone surrogate has an escape in JSON, but it cannot be printed or written.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"The {where} is not valid JSON: {error}.") from error
    return decode(kind, document, where)


def decode(kind: type[T], document: Json, where: str) -> T:
    """Reads a ``kind`` from a parsed JSON document.

    Raises:
        ManifestError: The document is not a ``kind``; the message says where it differs.
    """
    return typing.cast(T, _decode(kind, document, where))


def _decode(kind: object, document: Json, where: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, document, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, document, where)
    if origin is tuple:
        return _decode_tuple(arguments, document, where)
    if origin is typing.Literal:
        if any(document == item and type(document) is type(item) for item in arguments):
            return document
        allowed = ", ".join(repr(item) for item in arguments)
        raise ManifestError(f"{where} is {_shown(document)}, expected one of {allowed}.")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(document, dict):
            raise ManifestError(f"{where} is {_shown(document)}, expected an object.")
        return {k: _decode(arguments[1], v, f"{where}.{_plain(k)}") for k, v in document.items()}
    return _decode_scalar(kind, document, where)


def _decode_dataclass(kind: type, document: Json, where: str) -> object:
    if not isinstance(document, dict):
        raise ManifestError(f"{where} is {_shown(document)}, expected an object.")
    hints = _hints(kind)
    unknown = sorted(set(document) - set(hints))
    if unknown:
        raise ManifestError(
            f"{where} has the unknown key {_shown(unknown[0])}; a newer edgecell may have written "
            "it."
        )
    values = {key: _decode(hints[key], item, f"{where}.{key}") for key, item in document.items()}
    for field in dataclasses.fields(kind):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in values:
            raise ManifestError(f"{where} lacks the key {field.name!r}.")
    try:
        return kind(**values)
    except ValueError as error:
        raise ManifestError(f"{where} is not valid: {error}") from error


def _decode_union(arguments: tuple[object, ...], document: Json, where: str) -> object:
    if document is None and type(None) in arguments:
        return None
    options = [item for item in arguments if item is not type(None)]
    for option in options[:-1]:
        try:
            return _decode(option, document, where)
        except ManifestError:
            continue
    return _decode(options[-1], document, where)


def _decode_tuple(arguments: tuple[object, ...], document: Json, where: str) -> object:
    if not isinstance(document, list):
        raise ManifestError(f"{where} is {_shown(document)}, expected a list.")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(document)
    if len(arguments) != len(document):
        raise ManifestError(f"{where} has {len(document)} items, expected {len(arguments)}.")
    pairs = zip(arguments, document, strict=True)
    return tuple(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


def _decode_scalar(kind: object, document: Json, where: str) -> object:
    if kind is float and isinstance(document, int | float) and not isinstance(document, bool):
        try:
            number = float(document)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    elif isinstance(kind, type) and type(document) is kind:
        return document
    expected = "a finite number" if kind is float else getattr(kind, "__name__", str(kind))
    raise ManifestError(f"{where} is {_shown(document)}, expected {expected}.")


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _shown(document: Json) -> str:
    try:
        text = repr(document)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _plain(key: str) -> str:
    """A key as a message may show it: short, and without what moves a terminal's cursor."""
    return key if key.isprintable() and len(key) <= 40 else _shown(key)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name} is not finite")


def _refuse_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document
