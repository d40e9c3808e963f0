import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecell_runtime import codec
from edgecell_runtime.codec import Json, Scalar
from edgecell_runtime.errors import ManifestError


@dataclass(frozen=True)
class Leaf:
    value: float
    kind: Literal["a", "b", 1] = "a"

    def __post_init__(self) -> None:
        if self.value == 13:
            raise ValueError("13 is unlucky.")


@dataclass(frozen=True)
class Tree:
    name: str
    count: int = 0
    open: bool = False
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[int, int] = (0, 0)
    options: Mapping[str, Scalar] = field(default_factory=dict)


FULL = Tree("ä", 3, True, Leaf(0.1, "b"), (Leaf(1.0), Leaf(2.0, 1)), (4, 5), {"x": 1.5, "y": None})


def decode(**changes: Json) -> Tree:
    return codec.decode(Tree, {"name": "tree", **changes}, "tree")


@pytest.mark.parametrize("indent", [None, 2])
def test_value_comes_back_from_its_text(indent: int | None) -> None:
    assert codec.loads(Tree, codec.dumps(FULL, indent=indent), "tree") == FULL
    assert codec.loads(Tree, codec.dumps(FULL, indent=indent).encode(), "tree") == FULL


scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e300, 1e300)


@given(st.dictionaries(st.text(), scalars), st.integers(), st.floats(14, 1e300))
def test_every_value_comes_back_from_its_text(
    options: dict[str, Scalar], count: int, value: float
) -> None:
    tree = Tree("tree", count, leaf=Leaf(value), options=options)
    assert codec.loads(Tree, codec.dumps(tree), "tree") == tree


def test_text_is_the_same_for_the_same_value() -> None:
    assert codec.dumps(Leaf(0.5)) == '{"value":0.5,"kind":"a"}'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_dumps_is_refused_when_a_number_is_not_finite(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.dumps(Leaf(number))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", np.float32(1), object()])
def test_encode_is_refused_when_json_has_no_form(value: object) -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        codec.encode({"key": value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, r"tree has the unknown key 'extra'; a newer edgecell"),
        ({"name": 1}, r"tree\.name is 1, expected str"),
        ({"name": None}, r"tree\.name is None, expected str"),
        ({"count": 1.0}, r"tree\.count is 1\.0, expected int"),
        ({"count": True}, r"tree\.count is True, expected int"),
        ({"open": 1}, r"tree\.open is 1, expected bool"),
        ({"leaf": 5}, r"tree\.leaf is 5, expected an object"),
        ({"leaf": {}}, r"tree\.leaf lacks the key 'value'"),
        ({"leaf": {"value": "0.5"}}, r"tree\.leaf\.value is '0\.5', expected a finite number"),
        ({"leaf": {"value": True}}, r"tree\.leaf\.value is True, expected a finite number"),
        (
            {"leaf": {"value": 10**400}},
            r"tree\.leaf\.value is 1000+\.\.\., expected a finite",
        ),
        ({"leaf": {"value": 1, "kind": "c"}}, r"kind is 'c', expected one of 'a', 'b', 1"),
        ({"leaf": {"value": 1, "kind": 1.0}}, r"kind is 1\.0, expected one of"),
        ({"leaf": {"value": 1, "kind": True}}, r"kind is True, expected one of"),
        ({"leaf": {"value": 13}}, r"tree\.leaf is not valid: 13 is unlucky"),
        ({"leaves": {}}, r"tree\.leaves is \{\}, expected a list"),
        ({"leaves": [{"value": 1}, 2]}, r"tree\.leaves\[1\] is 2, expected an object"),
        ({"pair": [1]}, r"tree\.pair has 1 items, expected 2"),
        ({"pair": [1, "2"]}, r"tree\.pair\[1\] is '2', expected int"),
        ({"options": []}, r"tree\.options is \[\], expected an object"),
        ({"options": {"x": [1]}}, r"tree\.options\.x is \[1\], expected"),
    ],
)
def test_decode_says_where_a_document_differs(changes: dict[str, Json], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        decode(**changes)


def test_decode_takes_a_whole_number_for_a_float() -> None:
    value = codec.decode(Leaf, {"value": 2}, "leaf").value
    assert (value, type(value)) == (2.0, float)


@pytest.mark.parametrize("value", [True, 3, 2.5, "text", None])
def test_decode_keeps_the_type_of_a_scalar(value: Scalar) -> None:
    found = decode(options={"x": value}).options["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("document", [None, [], "tree", 1])
def test_decode_is_refused_when_the_document_is_no_object(document: Json) -> None:
    with pytest.raises(ManifestError, match=r"tree is .*, expected an object"):
        codec.decode(Tree, document, "tree")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"name":"x"} trailing', "not valid JSON"),
        ('{"name":"x","name":"y"}', "a key appears twice"),
        ('{"name":"x","options":{"a":1,"a":2}}', "a key appears twice"),
        ('{"name":"x","options":{"a":NaN}}', "the number NaN is not finite"),
        ('{"name":"x","options":{"a":-Infinity}}', "the number -Infinity is not finite"),
        ('{"name":"x","options":{"a":1e999}}', "expected"),
        ('{"name":"x","count":' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        (b'{"name":"\xff"}', "not valid JSON"),
        (b"\x80", "not valid JSON"),
        ('{"name":"\\ud800"}', "not valid JSON"),
    ],
)
def test_loads_is_refused_when_the_text_is_not_strict_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        codec.loads(Tree, text, "tree")


def test_loads_is_refused_whatever_the_depth_of_nesting() -> None:
    for depth in range(900, 1100):
        for text in ("[" * depth + "]" * depth, '{"name":' + "[" * depth + "]" * depth + "}"):
            with pytest.raises(ManifestError, match=r"nested too deeply|expected|not valid JSON"):
                codec.loads(Tree, text, "tree")


@given(st.binary(max_size=60) | st.recursive(scalars, st.lists).map(json.dumps))
def test_loads_gives_a_value_or_a_manifest_error_whatever_the_text(text: str | bytes) -> None:
    with pytest.raises(ManifestError):
        codec.loads(Tree, text, "tree")
