import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable

import pytest
from support.artifacts import full_manifest, tiny_manifest

from edgecell_runtime.codec import Json
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Golden, Manifest

DESIGNED = {
    "": "schema_version format recipe target labels positive_label signature preprocessing head "
    "temperature threshold threshold_rule golden calibration parity evaluation float_layers source",
    "signature": "inputs outputs",
    "preprocessing": "height width color_mode interpolation background",
    "golden": "formula probabilities outputs allowed_steps allowed_difference",
    "calibration": "count seed sha256 ranges",
    "parity": "sample limits largest_difference changed_labels loosened",
    "evaluation": "n patients accuracy sensitivity specificity auc",
    "evaluation.accuracy": "value low high",
    "source": "weights_sha256 data_sha256 configuration seed versions time",
}


def document_of(manifest: Manifest) -> dict[str, Json]:
    return typing.cast(dict[str, Json], json.loads(manifest.to_json()))


def changed(change: Callable[[dict[str, typing.Any]], object]) -> bytes:
    document = document_of(full_manifest())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize("make", [tiny_manifest, full_manifest])
def test_manifest_comes_back_from_its_bytes(make: Callable[[], Manifest]) -> None:
    assert Manifest.from_json(make().to_json()) == make()


def test_manifest_gives_the_same_bytes_when_made_twice() -> None:
    once = full_manifest().to_json()
    assert once == full_manifest().to_json() == Manifest.from_json(once).to_json()


def test_manifest_of_version_1_keeps_its_bytes() -> None:
    # A change here breaks what was exported before, unless the new key has a default.
    sha256 = hashlib.sha256(full_manifest().to_json()).hexdigest()
    assert sha256 == "69e1c1c685a4ffcfaaa69eb6ab40e731e778834fe154f8df08138df6bd1237b6"


@pytest.mark.parametrize(("place", "keys"), DESIGNED.items())
@pytest.mark.parametrize("make", [full_manifest, tiny_manifest])
def test_manifest_holds_every_designed_key_even_when_it_is_not_filled_in(
    make: Callable[[], Manifest], place: str, keys: str
) -> None:
    document: Json = document_of(make())
    for part in filter(None, place.split(".")):
        document = document[part]  # type: ignore[call-overload, index]
        if document is None:
            assert make is tiny_manifest  # an object that a later step fills in
            return
    assert set(keys.split()) <= set(typing.cast(dict[str, Json], document))


def test_manifest_is_read_when_keys_with_a_default_are_missing() -> None:
    document = document_of(tiny_manifest())
    required = ["format", "recipe", "labels", "signature", "preprocessing", "head", "source"]
    kept = {key: document[key] for key in (*required, "positive_label", "golden")}
    assert Manifest.from_json(json.dumps(kept).encode()) == tiny_manifest()


def test_manifest_is_read_when_it_holds_golden_answers_of_old() -> None:
    document = document_of(full_manifest())
    document["golden"] = {"formula": "ramps-1", "probabilities": [[0.25, 0.75], [0.5, 0.5]]}
    golden = Manifest.from_json(json.dumps(document).encode()).golden
    assert golden == Golden("ramps-1", ((0.25, 0.75), (0.5, 0.5)), (), 0, 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(lambda d: d.update(author="x")), "unknown key 'author'; a newer edgecell"),
        (changed(lambda d: d["source"].update(x=1)), r"manifest\.source has the unknown key 'x'"),
        (changed(lambda d: d.pop("labels")), "manifest lacks the key 'labels'"),
        (changed(lambda d: d.update(schema_version=2)), "schema_version is 2, expected one of 1"),
        (changed(lambda d: d.update(schema_version="1")), "schema_version is '1', expected"),
        (changed(lambda d: d.update(format="coreml")), "format is 'coreml', expected one of"),
        (changed(lambda d: d.update(labels="ab")), "labels is 'ab', expected a list"),
        (
            changed(lambda d: d.update(threshold="0.5")),
            "threshold is '0.5', expected a finite",
        ),
        (changed(lambda d: d.update(threshold=float("nan"))), "the number NaN is not finite"),
        (changed(lambda d: d.update(threshold=1.5)), "the threshold is between 0 and 1"),
        (changed(lambda d: d.update(temperature=0)), "temperature is between 1e-6 and 1e6"),
        (changed(lambda d: d.update(temperature=1e-320)), "temperature is between 1e-6 and 1e6"),
        (changed(lambda d: d.update(labels=["a"])), "at least two labels"),
        (changed(lambda d: d.update(labels=["a", "a"])), "at least two labels, each once"),
        (changed(lambda d: d.update(labels=["a", "b\nc"])), "a label is one line of text"),
        (changed(lambda d: d.update(labels=["a", ""])), "a label is one line of text"),
        (changed(lambda d: d["golden"].update(allowed_difference=1.0)), "no more"),
        (changed(lambda d: d["golden"].update(allowed_difference=-0.1)), "no more"),
        (changed(lambda d: d["golden"].update(allowed_steps=10**40)), "no more"),
        (changed(lambda d: d["golden"].update(allowed_steps=-1)), "no more"),
        (changed(lambda d: d["golden"]["outputs"].append([1.0])), "each row as many"),
        (
            changed(lambda d: d["signature"]["outputs"][0]["quantization"].update(scale=1e300)),
            "out of all range",
        ),
        (
            changed(
                lambda d: d["signature"]["outputs"][0]["quantization"].update(zero_point=10**40)
            ),
            "out of all range",
        ),
        (changed(lambda d: d.update(labels=["a", "b\x1b[2J"])), "without control characters"),
        (changed(lambda d: d.update(labels=["a", "b\u202ec"])), "without control characters"),
        (changed(lambda d: d.update(positive_label="x")), "positive label 'x' is not a label"),
        (changed(lambda d: d["head"].update(kind="sigmoid")), "sigmoid head, and no other"),
        (changed(lambda d: d["head"].update(kind="argmax")), "kind is 'argmax', expected one of"),
        (
            changed(lambda d: d["signature"]["inputs"][0].update(layout="NC")),
            "layout 'NC' does not fit",
        ),
        (
            changed(lambda d: d["signature"]["inputs"][0]["quantization"].update(scale=0)),
            "a scale is above zero",
        ),
        (changed(lambda d: d["preprocessing"].update(height=0)), "not between 1 and 4096"),
        (
            changed(lambda d: d["preprocessing"].update(background=[0, 0, 256])),
            "is not a colour of 0 to 255",
        ),
        (full_manifest().to_json()[:-1] + b',"recipe":"x"}', "a key appears twice"),
        (full_manifest().to_json()[:-1], "not valid JSON"),
        (b"", "not valid JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "at most 1,048,576 are read"),
    ],
)
def test_manifest_is_refused_with_the_place_that_is_wrong(text: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(text)


def test_manifest_is_refused_when_the_heads_label_is_not_a_label() -> None:
    with pytest.raises(ValueError, match="the head's label 'other' is not a label"):
        dataclasses.replace(tiny_manifest(), head=Head("sigmoid", "other"))
