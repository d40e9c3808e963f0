"""What a TFLite model may not ask of an engine.

The format has ways to say that numbers lie outside of it: in a file that the model names (external
buffers), or behind the flatbuffer (a buffer's offset and size). And it has custom operators, which
another library would have to bring. The root's tables are walked, by the numbers of their fields in
schema.fbs; the rest is the engine's own verifier's work.
"""

import struct
from collections.abc import Iterator

from edgecell_runtime.errors import FormatError

MAX_TABLES = 100_000
"""Of one kind; the artifacts of the presets have below 300 buffers."""

# Places in the tables' field lists (4 + 2 * field number).
_OPERATOR_CODES, _BUFFERS = 6, 12  # of Model
_EXTERNAL_BUFFER_GROUPS, _EXTERNAL_BUFFERS = 20, 22
_CUSTOM_CODE = 6  # of OperatorCode
_DATA, _OFFSET, _SIZE = 4, 6, 8  # of Buffer


def refuse_hostile(data: bytes, end: int) -> None:
    """Refuses a model whose numbers lie elsewhere, or that needs operators of others.

    Args:
        data: The file.
        end: Where the model ends in it.

    Raises:
        FormatError: It is such a model, or no TFLite model.
    """
    try:
        model = _Tables(data, end)
        root = model.pointed(0)
        for place in (_EXTERNAL_BUFFER_GROUPS, _EXTERNAL_BUFFERS):
            if model.field(root, place):
                raise FormatError(
                    "It has external buffers: numbers that lie in another file, which no hash "
                    "covers. Expected a model in one file; export it again."
                )
        for code in model.tables(root, _OPERATOR_CODES):
            _check_operator(model, code)
        for buffer in model.tables(root, _BUFFERS):
            if model.field(buffer, _OFFSET) or model.field(buffer, _SIZE):
                raise FormatError(
                    "It has a buffer whose numbers lie outside of the model; expected them in it. "
                    "Export it again."
                )
            model.vector(buffer, _DATA, 1)
    except (struct.error, IndexError) as error:
        raise FormatError("Its TFLite model is cut short or damaged. Export it again.") from error


def _check_operator(model: "_Tables", code: int) -> None:
    start, length = model.vector(code, _CUSTOM_CODE, 1)
    if length:
        name = model.data[start : start + min(length, 40)].decode("latin-1")
        raise FormatError(
            f"It has the custom operator {name!a}; expected TFLite's own operators, which an "
            "engine brings itself."
        )


class _Tables:
    """Reads a flatbuffer's tables; everything lies between 0 and ``end``, or is refused."""

    def __init__(self, data: bytes, end: int) -> None:
        self.data = data
        self._end = end

    def pointed(self, position: int) -> int:
        """What the offset at a position points to."""
        (offset,) = self._read("<I", position)
        if offset == 0:
            raise IndexError("an offset that points to itself")
        return self._inside(position + int(offset), 4)

    def field(self, table: int, place: int) -> int:
        """Where a table's field lies; 0 where the table has none."""
        (back,) = self._read("<i", table)
        listing = self._inside(table - int(back), 4)
        (length,) = self._read("<H", listing)
        if place + 2 > length:
            return 0
        (offset,) = self._read("<H", listing + place)
        return self._inside(table + int(offset), 1) if offset else 0

    def vector(self, table: int, place: int, width: int) -> tuple[int, int]:
        """Where a field's vector begins, and how many items it has; 0 of them without one."""
        field = self.field(table, place)
        if not field:
            return 0, 0
        position = self.pointed(field)
        (length,) = self._read("<I", position)
        self._inside(position + 4, int(length) * width)
        return position + 4, int(length)

    def tables(self, table: int, place: int) -> Iterator[int]:
        """The tables of a field's vector."""
        start, length = self.vector(table, place, 4)
        if length > MAX_TABLES:
            raise FormatError(f"Its TFLite model has {length:,} parts of a kind; none has as many.")
        for index in range(length):
            yield self.pointed(start + 4 * index)

    def _read(self, form: str, position: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self.data, self._inside(position, struct.calcsize(form)))

    def _inside(self, position: int, length: int) -> int:
        if position < 0 or position + length > self._end:
            raise IndexError("a place outside of the model")
        return position
