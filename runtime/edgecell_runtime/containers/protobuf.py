"""The outer form of protocol buffer messages: fields, their numbers and where they lie.

Nothing is copied and nothing is built: a field is skipped by its length. The number of fields is
counted down over a whole file, so that a file of nothing but tiny fields is refused in bounded
time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edgecell_runtime.errors import ManifestError

MAX_FIELDS = 100_000
"""Of one file; the artifacts of the presets have below 3,000 that are looked at."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        number: Its number in the message's schema.
        wire_type: How it is written.
        start: Where its content begins.
        end: Where the next field begins.
        value: The number itself where it is written as a varint, else 0.
    """

    number: int
    wire_type: int
    start: int
    end: int
    value: int = 0


class Walk:
    """Reads fields of one file, as many as one file may have.

    Args:
        data: The file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two positions.

        Raises:
            ManifestError: The bytes are not such a message, or have too many fields.
        """
        position = start
        while position < end:
            if self._left == 0:
                raise ManifestError(
                    f"The file has more than {MAX_FIELDS:,} fields, which no exported model has."
                )
            self._left -= 1
            field = self._field(position, end)
            yield field
            position = field.end

    def _field(self, position: int, end: int) -> Field:
        tag, position = self._varint(position, end)
        number, wire_type, value = tag >> 3, tag & 7, 0
        if wire_type == VARINT:
            value, stop = self._varint(position, end)
        elif wire_type == BYTES:
            length, position = self._varint(position, end)
            stop = position + length
        elif wire_type in (FIXED32, FIXED64):
            stop = position + (4 if wire_type == FIXED32 else 8)
        else:  # groups, which ONNX never had
            raise ManifestError("The file is not a protocol buffer message.")
        if not 0 < number < 1 << 29 or stop > end:
            raise ManifestError("The file is not a protocol buffer message, or is cut short.")
        return Field(number, wire_type, position, stop, value)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Reads a base-128 number; returns it and the position behind it."""
        value = 0
        for shift in range(0, 70, 7):  # ten bytes, as negative numbers take
            if position >= end:
                break
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise ManifestError("The file is not a protocol buffer message, or is cut short.")


def bytes_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    return to_varint(number << 3 | BYTES) + to_varint(len(content)) + content


def to_varint(value: int) -> bytes:
    """A base-128 number."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
