"""ONNX: two ``metadata_props`` entries appended to the serialised ``ModelProto``.

Protocol buffers are merged by concatenation, so a message that holds nothing but metadata can
follow the model; every reader merges them. The last entry's value is the digest, the last bytes of
the file. What the graph may hold is in ``onnx_graph``.
"""

from edgecell_runtime.containers.base import BLANK_DIGEST, Container
from edgecell_runtime.containers.onnx_graph import refuse_hostile
from edgecell_runtime.containers.protobuf import BYTES, Field, Walk, bytes_field
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.manifest import MAX_MANIFEST_BYTES, Manifest

MANIFEST_KEY = b"edgecell.manifest"
DIGEST_KEY = b"edgecell.sha256"

# Field numbers of onnx.ModelProto and onnx.StringStringEntryProto.
_GRAPH, _METADATA = 7, 14
_KEY, _VALUE = 1, 2

_MAX_ENTRY_BYTES = MAX_MANIFEST_BYTES + 64


def recognises(data: bytes) -> bool:
    """True where the outermost fields parse and one of them is a graph."""
    try:
        return any(field.number == _GRAPH for field in Walk(data).fields(0, len(data)))
    except ManifestError:
        return False


def attach(model: bytes, manifest: Manifest) -> bytes:
    """Appends the manifest and a blank digest as metadata."""
    manifest_entry = _entry(MANIFEST_KEY, manifest.to_json())
    return model + manifest_entry + _entry(DIGEST_KEY, BLANK_DIGEST)


def find_manifest(data: bytes) -> bytes:
    """The manifest's JSON from the metadata.

    Raises:
        ManifestError: The file does not parse, holds metadata that readers may read in two ways,
            or does not hold exactly one manifest.
    """
    walk = Walk(data)
    found: dict[bytes, list[bytes]] = {MANIFEST_KEY: [], DIGEST_KEY: []}
    for field in walk.fields(0, len(data)):
        if field.number == _METADATA:
            key, value = _read_entry(walk, data, field)
            found.get(key, []).append(value)
    manifests, digests = found[MANIFEST_KEY], found[DIGEST_KEY]
    if len(manifests) != 1:
        raise ManifestError(f"The file holds {len(manifests)} edgecell manifests; expected 1.")
    if len(digests) != 1:
        raise ManifestError(f"The file holds {len(digests)} edgecell digests; expected 1.")
    return manifests[0]


def _read_entry(walk: Walk, data: bytes, entry: Field) -> tuple[bytes, bytes]:
    """Key and value of a metadata entry, each of which stands there once at most."""
    if entry.wire_type != BYTES or entry.end - entry.start > _MAX_ENTRY_BYTES:
        raise ManifestError(
            f"The file has metadata above {_MAX_ENTRY_BYTES:,} bytes, or not as ONNX has it."
        )
    parts: dict[int, bytes] = {}
    for part in walk.fields(entry.start, entry.end):
        if part.number in parts or part.number not in (_KEY, _VALUE) or part.wire_type != BYTES:
            raise ManifestError("The file has a metadata entry that is more than key and value.")
        parts[part.number] = data[part.start : part.end]
    return parts.get(_KEY, b""), parts.get(_VALUE, b"")


def _entry(key: bytes, value: bytes) -> bytes:
    pair = bytes_field(_KEY, key) + bytes_field(_VALUE, value)
    return bytes_field(_METADATA, pair)


CONTAINER = Container(
    attach,
    find_manifest,
    refuse_hostile,
    seal_marker=_entry(DIGEST_KEY, BLANK_DIGEST)[:-64],
)
