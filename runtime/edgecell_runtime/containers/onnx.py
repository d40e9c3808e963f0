"""ONNX: two ``metadata_props`` entries appended to the serialised ``ModelProto``.

Protocol buffers are merged by concatenation, so a message that holds nothing but metadata can
follow the model; every reader merges them. The last entry's value is the digest, the last bytes of
the file. Only the outermost fields are walked here; the graph is skipped by its length.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgecell_runtime.containers.base import BLANK_DIGEST, Container
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_KEY = b"edgecell.manifest"
DIGEST_KEY = b"edgecell.sha256"

# Field numbers of onnx.ModelProto and onnx.StringStringEntryProto.
_GRAPH, _METADATA = 7, 14
_KEY, _VALUE = 1, 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Field:
    number: int
    start: int
    end: int


def recognises(data: bytes) -> bool:
    """True where the outermost fields parse and one of them is a graph."""
    try:
        return any(field.number == _GRAPH for field in _fields(data))
    except ManifestError:
        return False


def attach(model: bytes, manifest: Manifest) -> bytes:
    """Appends the manifest and a blank digest as metadata."""
    manifest_entry = _entry(MANIFEST_KEY, manifest.to_json())
    return model + manifest_entry + _entry(DIGEST_KEY, BLANK_DIGEST)


def find_manifest(data: bytes) -> bytes:
    """The manifest's JSON from the metadata.

    Raises:
        ManifestError: The file does not parse, or does not hold exactly one manifest.
    """
    found = []
    for field in _fields(data):
        if field.number == _METADATA and field.end - field.start <= MAX_MANIFEST_BYTES + 64:
            entry = data[field.start : field.end]
            parts = {part.number: entry[part.start : part.end] for part in _fields(entry)}
            if parts.get(_KEY) == MANIFEST_KEY:
                found.append(parts.get(_VALUE, b""))
    if len(found) != 1:
        raise ManifestError(f"The file holds {len(found)} edgecell manifests; expected 1.")
    return found[0]


def _fields(data: bytes) -> Iterator[_Field]:
    """Walks the outermost fields of a protocol buffer message.

    Raises:
        ManifestError: The bytes are not such a message.
    """
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            end = _varint(data, position)[1]
        elif wire_type == _BYTES:
            length, position = _varint(data, position)
            end = position + length
        elif wire_type in (_FIXED32, _FIXED64):
            end = position + (4 if wire_type == _FIXED32 else 8)
        else:
            raise ManifestError("The file is not a protocol buffer message.")
        if number == 0 or end > len(data):
            raise ManifestError("The file is not a protocol buffer message, or is cut short.")
        yield _Field(number, position, end)
        position = end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a base-128 number; returns it and the position behind it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ManifestError("The file is not a protocol buffer message, or is cut short.")


def _entry(key: bytes, value: bytes) -> bytes:
    pair = _bytes_field(_KEY, key) + _bytes_field(_VALUE, value)
    return _bytes_field(_METADATA, pair)


def _bytes_field(number: int, content: bytes) -> bytes:
    return _to_varint(number << 3 | _BYTES) + _to_varint(len(content)) + content


def _to_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


CONTAINER = Container(recognises, attach, find_manifest, _entry(DIGEST_KEY, BLANK_DIGEST)[:-64])
