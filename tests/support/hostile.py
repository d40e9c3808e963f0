"""Artifacts that someone with a hash function made: properly sealed, and hostile."""

import dataclasses
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of
from edgecell_runtime.containers import tflite as container
from edgecell_runtime.containers.protobuf import BYTES, bytes_field, to_varint
from edgecell_runtime.errors import ArtifactError
from support import artifacts, models

MANIFEST = container.MANIFEST_NAME
COMMENT = b"edgecell sha256 "


def reseal(body: bytes) -> bytes:
    """A valid digest for whatever someone wrote before it."""
    return body + hashlib.sha256(body).hexdigest().encode()


def refusal(folder: Path, data: bytes, suffix: str) -> str:
    """The sentence with which a file is refused; the test fails where it is taken."""
    path = folder / f"hostile.{suffix}"
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        read_artifact(path)
    return str(caught.value)


@dataclass(frozen=True)
class Member:
    """A file in a zip archive, with what its headers claim where that is not the truth."""

    name: str
    content: bytes = b"x"
    deflated: bool = False
    claimed_size: int | None = None
    flags: int = 0
    directory_flags: int | None = None
    directory_name: str | None = None
    extra: bytes = b""
    directory_extra: bytes = b""
    moved: int = 0
    checksum: int | None = None
    method: int | None = None
    gap: bytes = b""
    disk: int = 0


def manifest_member(size: int = 0) -> Member:
    return Member(MANIFEST, artifacts.tiny_manifest().to_json().ljust(size))


@dataclass(frozen=True)
class Ending:
    """What an end record claims beyond the truth."""

    entries: int | None = None
    moved: int = 0
    disk: int = 0
    comment: bytes = COMMENT
    gap: bytes = b""


def archive(members: list[Member], model: bytes | None = None, ending: Ending = Ending()) -> bytes:
    """A TFLite file with a handmade archive, sealed."""
    body = models.tflite_model() if model is None else model
    directory = b""
    for member in members:
        body, entry = _add(body, member)
        directory += entry
    body += ending.gap
    start, count = len(body), len(members) if ending.entries is None else ending.entries
    record = struct.pack(
        "<4s4H2LH",
        b"PK\5\6",
        ending.disk,
        ending.disk,
        count,
        count,
        len(directory),
        (start + ending.moved) % (1 << 32),
        len(ending.comment) + 64,
    )
    return reseal(body + directory + record + ending.comment)


def _add(body: bytes, member: Member) -> tuple[bytes, bytes]:
    packed = member.content
    if member.deflated:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(member.content) + packer.flush()
    size = len(member.content) if member.claimed_size is None else member.claimed_size
    crc = zlib.crc32(member.content) if member.checksum is None else member.checksum
    method = member.method if member.method is not None else 8 * member.deflated
    body += member.gap
    name, at = member.name.encode(), len(body) + member.moved
    local = struct.pack(
        "<4s5H3L2H", b"PK\3\4", 20, member.flags, method, 0, 33, crc, len(packed), size,
        len(name), len(member.extra),
    )  # fmt: skip
    listed = name if member.directory_name is None else member.directory_name.encode()
    flags = member.flags if member.directory_flags is None else member.directory_flags
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, method, 0, 33, crc, len(packed), size,
        len(listed), len(member.directory_extra), 0, member.disk, 0, 0, at,
    )  # fmt: skip
    whole = body + local + name + member.extra + packed
    return whole, entry + listed + member.directory_extra


def changed(member: Member, **changes: object) -> Member:
    return dataclasses.replace(member, **changes)  # type: ignore[arg-type]


def sealed_onnx(model: bytes) -> bytes:
    """An ONNX model with a manifest, sealed as an export seals it."""
    return container_of("onnx").seal(model, artifacts.tiny_manifest("onnx"))


def length_claim(number: int, length: int) -> bytes:
    """A field that says it is longer than the file."""
    return to_varint(number << 3 | BYTES) + to_varint(length)


def nested(fields: list[int], content: bytes) -> bytes:
    """Messages inside messages, the first field outermost."""
    for number in reversed(fields):
        content = bytes_field(number, content)
    return content
