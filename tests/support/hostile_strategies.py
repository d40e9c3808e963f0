"""Hypothesis strategies: manifests and artifacts that someone has changed."""

import json
import struct
import typing

from hypothesis import strategies as st

from edgecell_runtime.codec import Json
from edgecell_runtime.manifest import Format
from support import artifacts

FORMATS: list[Format] = ["tflite", "onnx"]
SEALED = {name: artifacts.tiny_artifact(name) for name in FORMATS}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1 << 31, 1 << 63, -(1 << 63), 10**400]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "\0", "\n", "\ud800", "x" * 100_000, "Parasitized", "NHWC", "tflite"]),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
# What a writer of JSON does not write, put in the place of a value.
RAW: dict[str, str] = {
    "raw-digits": "1" * 5000,
    "raw-exponent": "1e999999",
    "raw-infinity": "-Infinity",
    "raw-nan": "NaN",
    "raw-zero": "-0.0",
    "raw-deep-list": "[" * 3000 + "]" * 3000,
    "raw-deep-object": '{"a":' * 3000 + "1" + "}" * 3000,
    "raw-long-list": "[" + "0," * 50_000 + "0]",
    "raw-escape": '"\\ud83d"',
    "raw-bad-escape": '"\\x"',
    "raw-control": '"\x01"',
    "raw-duplicate": '{"kind":"softmax","kind":"softmax","label":null}',
    "raw-empty": "",
    "raw-comment": "/**/1",
}


def places(document: Json) -> list[tuple[list[Json] | dict[str, Json], int | str]]:
    """Every place in a document where a value stands: its holder, and its key there."""
    if not isinstance(document, list | dict):
        return []
    keys: list[int | str] = (
        list(document) if isinstance(document, dict) else [*range(len(document))]
    )
    found = [(document, key) for key in keys]
    for key in keys:
        found += places(document[key])  # type: ignore[call-overload, index]
    return found


@st.composite
def changed_manifests(draw: st.DrawFn, artifact_format: Format = "tflite") -> bytes:
    """A valid manifest with up to four changes to its structure, as text."""
    make = draw(st.sampled_from([artifacts.tiny_manifest, artifacts.full_manifest]))
    document: Json = json.loads(make().to_json())
    typing.cast(dict[str, Json], document)["format"] = artifact_format
    for _ in range(draw(st.integers(1, 4))):
        spots = places(document)
        if not spots:
            break
        holder, key = draw(st.sampled_from(spots))
        change = draw(st.sampled_from(["delete", "replace", "raw", "rename", "move", "repeat"]))
        values = typing.cast(dict[int | str, Json], holder)
        if change == "delete":
            del values[key]
        elif change == "replace":
            values[key] = draw(DOCUMENTS)
        elif change == "raw":
            values[key] = draw(st.sampled_from(sorted(RAW)))
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = values.pop(key)
        elif change == "repeat" and isinstance(holder, list):
            holder.extend([values[key]] * draw(st.integers(1, 300)))
        else:  # the value of another place
            other, name = draw(st.sampled_from(spots))
            values[key] = json.loads(json.dumps(other[name]))  # type: ignore[call-overload, index]
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode("utf-8", "surrogatepass")


NUMBERS = st.sampled_from([0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF]) | st.integers(0, 0xFFFF)
LONG_NUMBERS = st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)


def varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


# A field of a protocol buffer whose length and wire type may lie.
PROTOBUF = st.builds(
    lambda number, wire_type, length, content: (
        varint(number << 3 | wire_type)
        + varint(len(content) if length is None else length)
        + content
    ),
    st.integers(0, 20) | st.just((1 << 29) - 1),
    st.integers(0, 7),
    st.none() | LONG_NUMBERS | st.just((1 << 64) - 1),
    st.binary(max_size=20),
)
# Ends of central directories, plain and zip64, entries, and local headers with any numbers.
ZIP = st.one_of(
    st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, LONG_NUMBERS, LONG_NUMBERS, NUMBERS).map(
        lambda numbers: struct.pack("<4s4H2LH", b"PK\5\6", *numbers)
    ),
    st.tuples(LONG_NUMBERS, LONG_NUMBERS, LONG_NUMBERS).map(
        lambda numbers: struct.pack("<4sLQL", b"PK\6\7", *numbers)
    ),
    st.tuples(*[NUMBERS] * 6, *[LONG_NUMBERS] * 3, *[NUMBERS] * 5, *[LONG_NUMBERS] * 2).map(
        lambda numbers: struct.pack("<4s6H3L5H2L", b"PK\1\2", *numbers) + b"edgecell_manifest.json"
    ),
    st.tuples(*[NUMBERS] * 5, *[LONG_NUMBERS] * 3, *[NUMBERS] * 2).map(
        lambda numbers: struct.pack("<4s5H3L2H", b"PK\3\4", *numbers) + b"../../climbing"
    ),
)
FRAGMENTS = st.one_of(st.binary(min_size=1, max_size=40), PROTOBUF, ZIP)


@st.composite
def changed_files(draw: st.DrawFn, artifact_format: Format) -> bytes:
    """An artifact, cut, spliced, written over, lengthened."""
    data = bytearray(SEALED[artifact_format])
    if draw(st.booleans()) and draw(st.booleans()):
        other = SEALED[draw(st.sampled_from(FORMATS))]
        data = data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(0, 5))):
        # The last two thousand bytes hold the manifest and the archive.
        start = draw(st.integers(0, len(data)) | st.integers(max(0, len(data) - 2000), len(data)))
        length = draw(st.sampled_from([0, 0, 1, 4, 30, 500]))
        fragment = draw(FRAGMENTS)
        change = draw(st.sampled_from(["over", "insert", "delete", "repeat", "append", "cut"]))
        if change == "over":
            data[start : start + len(fragment)] = fragment
        elif change == "insert":
            data[start:start] = fragment
        elif change == "delete":
            del data[start : start + length]
        elif change == "repeat":
            data[start:start] = data[start : start + length]
        elif change == "append":
            data += fragment
        else:
            del data[start:]
    return bytes(data)
