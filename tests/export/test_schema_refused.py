import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgecell_runtime.errors import ManifestError
from edgecell_runtime.manifest import Manifest

PUBLISHED = Path(__file__).parents[2] / "export" / "manifest.schema.json"
FOLDER = Path(__file__).parent / "golden"
FULL = FOLDER / "static-int8-full.json"
VALIDATOR = Draft202012Validator(json.loads(PUBLISHED.read_bytes()))


def changed(change: Callable[[Any], object]) -> Any:
    document = json.loads(FULL.read_bytes())
    change(document)
    return document


def places(document: Any) -> list[tuple[Any, ...]]:
    """The way to everything inside a document."""
    if not isinstance(document, dict | list):
        return []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    return [way for key, item in items for way in [(key,), *((key, *w) for w in places(item))]]


def at(document: Any, way: tuple[Any, ...]) -> Any:
    return at(document[way[0]], way[1:]) if way else document


DOCUMENTS = [json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]
PLACES = [(document, way) for document in DOCUMENTS for way in places(document)]
NUMBERS = st.integers(-2, 300) | st.floats(0, 1)
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["a", "float32", "onnx", "NC"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "add"]), VALUES)
def test_whatever_the_reader_takes_is_valid(
    place: tuple[Any, tuple[Any, ...]], what: str, value: Any
) -> None:
    document = copy.deepcopy(place[0])
    *way, last = place[1]
    holder = at(document, tuple(way))
    if what == "delete":
        del holder[last]
    elif what == "set" or isinstance(holder, list):
        holder[last] = value
    else:
        holder["added"] = value
    try:
        Manifest.from_json(json.dumps(document).encode())
    except ManifestError:
        return
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "change",
    {
        "unknown key": lambda d: d.update(author="x"),
        "unknown key inside": lambda d: d["evaluation"]["auc"].update(median=0.9),
        "required key missing": lambda d: d.pop("labels"),
        "required key missing inside": lambda d: d["parity"].pop("sample"),
        "object for a list": lambda d: d.update(labels={}),
        "text for a list": lambda d: d.update(labels="ab"),
        "number in a list of text": lambda d: d["labels"].append(3),
        "text for a number": lambda d: d.update(threshold="0.5"),
        "true for a number": lambda d: d.update(threshold=True),
        "true for an integer": lambda d: d["source"].update(seed=True),
        "1.5 for an integer": lambda d: d["source"].update(seed=1.5),
        "1 for true": lambda d: d["parity"].update(loosened=1),
        "number for text": lambda d: d.update(recipe=8),
        "null without a choice": lambda d: d.update(recipe=None),
        "list for an object": lambda d: d.update(calibration=[]),
        "unknown format": lambda d: d.update(format="coreml"),
        "newer version": lambda d: d.update(schema_version=2),
        "version as text": lambda d: d.update(schema_version="1"),
        "two of three numbers": lambda d: d["preprocessing"].update(background=[0, 0]),
        "four of three numbers": lambda d: d["preprocessing"].update(background=[0, 0, 0, 0]),
        "list as a setting": lambda d: d["source"]["configuration"].update(crop=[1, 2]),
        "number as a version": lambda d: d["source"]["versions"].update(keras=3.15),
    }.items(),
    ids=lambda item: item[0],
)
def test_wrong_document_is_refused_by_schema_and_reader_alike(
    change: tuple[str, Callable[[Any], object]],
) -> None:
    document = changed(change[1])
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(document).encode())


@pytest.mark.parametrize(
    "change",
    {
        "1.0 for an integer": lambda d: d["source"].update(seed=1.0),
        "1.0 as a version": lambda d: d.update(schema_version=1.0),
        "number beyond 64-bit floats": lambda d: d.update(temperature=10**400),
        "half a surrogate pair": lambda d: d.update(recipe="\ud800"),
        "more than a mebibyte": lambda d: d.update(recipe="x" * (1 << 20)),
        "one label": lambda d: d.update(labels=["Parasitized"]),
        "label twice": lambda d: d.update(labels=["Parasitized"] * 2),
        "label of two lines": lambda d: d["labels"].append("two\nlines"),
        "empty label": lambda d: d["labels"].append(""),
        "positive label is no label": lambda d: d.update(positive_label="other"),
        "head's label is no label": lambda d: d.update(head={"kind": "sigmoid", "label": "other"}),
        "sigmoid without a label": lambda d: d["head"].update(kind="sigmoid"),
        "temperature of zero": lambda d: d.update(temperature=0),
        "threshold above one": lambda d: d.update(threshold=1.5),
        "no rows": lambda d: d["preprocessing"].update(height=0),
        "no colour": lambda d: d["preprocessing"].update(background=[0, 0, 256]),
        "layout of another shape": lambda d: d["signature"]["inputs"][0].update(layout="NC"),
        "scale of zero": lambda d: d["signature"]["inputs"][0]["quantization"].update(scale=0),
        "quantised float": lambda d: d["signature"]["inputs"][0].update(dtype="float32"),
    }.items(),
    ids=lambda item: item[0],
)
def test_reader_alone_refuses_what_the_schema_cannot_say(
    change: tuple[str, Callable[[Any], object]],
) -> None:
    document = changed(change[1])
    assert VALIDATOR.is_valid(document)
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(document).encode())


def test_reader_alone_refuses_a_key_that_appears_twice() -> None:
    text = FULL.read_bytes()[:-1] + b',"recipe":"static_int8"}'
    assert VALIDATOR.is_valid(json.loads(text))
    with pytest.raises(ManifestError, match="appears twice"):
        Manifest.from_json(text)
