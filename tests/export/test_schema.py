import dataclasses
import json
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.command_line import invoke, seal

from edgecell_export.schema import IDENTIFIER, json_schema
from edgecell_runtime import codec
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import MOST_DIFFERENCE, MOST_STEPS, Golden, Manifest
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.printable import UNPRINTABLE
from edgecell_runtime.signature import QuantizationParams, TensorSpec

PUBLISHED = Path(__file__).parents[2] / "export" / "manifest.schema.json"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
"""As exports wrote them. They stay as they are; a new key gets a file of its own."""

FULL = Path(__file__).parent / "golden" / "static-int8-full.json"
VALIDATOR = Draft202012Validator(json.loads(PUBLISHED.read_bytes()))

EACH_GOLDEN = pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])


def without_new_keys(encoded: Any, golden: Any) -> Any:
    """What was encoded, without the keys that the golden document does not have."""
    if isinstance(golden, dict):
        return {k: without_new_keys(v, golden[k]) for k, v in encoded.items() if k in golden}
    if isinstance(golden, list):
        return [without_new_keys(*pair) for pair in zip(encoded, golden, strict=True)]
    return encoded


# The published file


def test_published_schema_is_what_the_command_prints() -> None:
    command = [sys.executable, "-W", "error", "-m", "edgecell_export.schema"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert printed == PUBLISHED.read_bytes(), (
        "The manifest has changed: python -m edgecell_export.schema > export/manifest.schema.json"
    )


def test_published_schema_is_a_schema_of_this_version_of_the_manifest() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    version = Manifest.from_json(FULL.read_bytes()).schema_version
    assert VALIDATOR.schema["$id"] == IDENTIFIER == f"urn:edgecell:manifest:{version}"


def test_schema_describes_every_key_of_a_class_that_describes_any() -> None:
    for name, definition in VALIDATOR.schema["$defs"].items():
        described = {k for k, v in definition["properties"].items() if v.get("description")}
        assert described in (set(), set(definition["properties"])), name


# Golden manifests


@EACH_GOLDEN
def test_golden_manifest_is_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_bytes()))


@EACH_GOLDEN
def test_golden_manifest_comes_back_as_the_same_bytes(path: Path) -> None:
    written = Manifest.from_json(path.read_bytes()).to_json()
    kept = without_new_keys(json.loads(written), json.loads(path.read_bytes()))
    assert codec.dumps(kept).encode() == path.read_bytes()
    VALIDATOR.validate(json.loads(written))


def filled_in(value: Any, document: Any) -> set[str]:
    """The keys, by class, that a document has and that are not null."""
    if isinstance(value, tuple):
        return {key for pair in zip(value, document, strict=True) for key in filled_in(*pair)}
    if not dataclasses.is_dataclass(value):
        return set()
    keys = [key for key, item in document.items() if item is not None]
    inside = [filled_in(getattr(value, key), document[key]) for key in keys]
    return {f"{type(value).__name__}.{key}" for key in keys}.union(*inside)


def test_golden_manifests_have_every_key_between_them() -> None:
    texts = [path.read_bytes() for path in GOLDEN]
    found = [filled_in(Manifest.from_json(text), json.loads(text)) for text in texts]
    definitions = VALIDATOR.schema["$defs"]
    keys = {f"{name}.{key}" for name, item in definitions.items() for key in item["properties"]}
    assert set().union(*found) == keys, "write one more golden file, with the new keys filled in"


def test_golden_manifest_of_the_required_keys_alone_is_among_them() -> None:
    required = VALIDATOR.schema["$defs"]["Manifest"]["required"]
    assert any(list(json.loads(path.read_bytes())) == required for path in GOLDEN)


# Random manifests

SHOWN = st.text(min_size=1).filter(lambda text: UNPRINTABLE.search(text) is None)
ROWS = st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), max_size=3).map(tuple)

LIMITED: Mapping[type, Mapping[str, st.SearchStrategy[Any]]] = {
    QuantizationParams: {
        "scale": st.floats(1e-300, 1e30),
        "zero_point": st.integers(-(1 << 15), 1 << 15),
    },
    Golden: {
        "probabilities": ROWS,
        "outputs": ROWS,
        "allowed_steps": st.integers(0, MOST_STEPS),
        "allowed_difference": st.floats(0, MOST_DIFFERENCE),
    },
    PreprocessSpec: {
        "height": st.integers(1, 4096),
        "width": st.integers(1, 4096),
        "background": st.tuples(*[st.integers(0, 255)] * 3),
        "masking": st.none(),  # of small images; a golden document has it
    },
    TensorSpec: {
        "shape": st.tuples(*[st.none() | st.integers()] * 2),
        "layout": st.text(min_size=2, max_size=2),
    },
    Head: {"label": st.sampled_from([None, "a"])},
    Manifest: {
        "labels": st.lists(SHOWN).map(lambda more: tuple(dict.fromkeys(["a", "b", *more]))),
        "positive_label": st.sampled_from([None, "b"]),
        "temperature": st.floats(1e-6, 1e6),
        "threshold": st.floats(0, 1),
    },
}
"""Fields that their class allows fewer values than their type does."""

PLAIN: Mapping[object, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Random values of a type that the codec reads."""
    arguments = typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return instances(typing.cast(type, kind))
    if typing.get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if typing.get_origin(kind) is tuple:
        return st.tuples(*map(values, arguments))
    if typing.get_origin(kind) is Literal:
        return st.sampled_from(arguments)
    if typing.get_origin(kind) is Mapping:
        return st.dictionaries(st.text(), values(arguments[1]), max_size=3)
    return PLAIN[kind] if kind in PLAIN else st.one_of(*map(values, arguments))


def instances(kind: type) -> st.SearchStrategy[Any]:
    fields = {name: values(hint) for name, hint in typing.get_type_hints(kind).items()}
    made = st.fixed_dictionaries({**fields, **LIMITED.get(kind, {})})

    def make(given: dict[str, Any]) -> object:
        try:
            return kind(**given)
        except ValueError:  # values that do not fit one another
            return None

    return made.map(make).filter(lambda instance: instance is not None)


@settings(deadline=None, max_examples=50)
@given(instances(Manifest))
def test_every_manifest_is_valid_and_comes_back_as_the_same_bytes(manifest: Manifest) -> None:
    written = manifest.to_json()
    VALIDATOR.validate(json.loads(written))
    assert Manifest.from_json(written) == manifest
    assert Manifest.from_json(written).to_json() == written


# The generator


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf.

    It is green.

    Attributes:
        width: In metres, and
            measured twice: once wet.
        kind: Of the tree.

    Example:
        other: This is no attribute.
    """

    width: float
    kind: Literal["oak", "elm"] = "oak"
    other: tuple[int, str] | None = None
    inner: "tuple[Leaf, ...]" = ()
    sizes: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"a": 1.0})


def test_generator_follows_types_defaults_and_docstrings() -> None:
    pair = {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "minItems": 2,
        "items": False,
    }
    assert json_schema(Leaf, "urn:leaf")["$defs"] == {
        "Leaf": {
            "description": "A leaf.",
            "type": "object",
            "properties": {
                "width": {
                    "type": "number",
                    "description": "In metres, and measured twice: once wet.",
                },
                "kind": {"enum": ["oak", "elm"], "description": "Of the tree.", "default": "oak"},
                "other": {"anyOf": [pair, {"type": "null"}], "default": None},
                "inner": {"type": "array", "items": {"$ref": "#/$defs/Leaf"}, "default": []},
                "sizes": {
                    "type": "object",
                    "additionalProperties": {"type": "number"},
                    "default": {"a": 1.0},
                },
            },
            "required": ["width"],
            "additionalProperties": False,
        }
    }


def test_generator_is_refused_when_the_codec_does_not_read_a_type() -> None:
    with pytest.raises(TypeError, match=r"complex.* has no JSON form"):
        json_schema(dataclasses.make_dataclass("Odd", [("value", complex)]), "urn:odd")


def test_generator_is_refused_when_two_classes_have_one_name() -> None:
    other = dataclasses.make_dataclass("Leaf", [("value", int)])
    both = dataclasses.make_dataclass("Both", [("one", Leaf), ("two", other)])
    with pytest.raises(TypeError, match="two classes are named Leaf"):
        json_schema(both, "urn:both")


# Where people meet it


@EACH_GOLDEN
def test_inspect_prints_a_manifest_that_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    manifest = Manifest.from_json(path.read_bytes())
    if manifest.format == "savedmodel":  # the tiny graphs are single files
        manifest = dataclasses.replace(manifest, format="onnx")
    model = seal(tmp_path / f"model.{manifest.format}", manifest)
    outcome = invoke(capsys, "inspect", model, "--json")
    assert outcome.status == 0
    VALIDATOR.validate(outcome.document["manifest"])
    assert Manifest.from_json(json.dumps(outcome.document["manifest"]).encode()) == manifest
