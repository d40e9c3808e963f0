"""Writes a TFLite file in as few bytes as what it says takes.

Of a net of some kilobytes, most of the converter's file is not weights: tensors carry the paths of
all operators that were fused into them, every channel its own zero point although all are 0, every
activation an empty buffer. Here a flatbuffer's objects that are alike are written once and pointed
to from everywhere, which the format allows and readers do not notice.
"""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.tflite_graph import TFLiteGraph

ALIGNMENT: Final = 16
"""What TFLite's schema asks of constants, in bytes."""

_MODEL_IDENTIFIER: Final = b"TFL3"
_CONVERTER_ENTRIES: Final = (b"CONVERSION_METADATA", b"min_runtime_version")
"""TensorFlow's version and the like, which the manifest says too; no engine reads them."""

_OUR_PATH: Final = re.compile(r"^edgecell_\d+/")
_AGAIN: Final = re.compile(r"_1$")


def pack(graph: TFLiteGraph) -> bytes:
    """Writes a parsed file, the same graph with the same numbers.

    Tensors between the input and the output are named by their layer. Constants lie at multiples of
    16 bytes, where TensorFlow's converter leaves them at multiples of 4, since its last step writes
    the file through the same Python classes.

    Args:
        graph: The file as objects of the schema, which are changed.

    Returns:
        The file; the same objects give the same bytes.
    """
    _drop_converter_entries(graph.model)
    _share_empty_buffers(graph)
    _name_by_layer(graph)
    buffers = graph.model.buffers
    graph.model.buffers = [_AlignedBuffer(buffer) for buffer in buffers]
    held = sum(len(b.data) + ALIGNMENT for b in buffers if b.data is not None)
    builder = _sharing_builder(held + (1 << 16))
    builder.Finish(graph.model.Pack(builder), file_identifier=_MODEL_IDENTIFIER)
    graph.model.buffers = buffers
    return bytes(builder.Output())


def _sharing_builder(room: int) -> Any:
    """A ``flatbuffers.Builder`` that writes equal names and equal vectors of numbers once."""
    import flatbuffers  # comes with LiteRT

    class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
        """Remembers where things lie."""

        def __init__(self) -> None:
            # A builder that is too small at first doubles its memory until all fits.
            super().__init__(room)
            self._places: dict[object, int] = {}

        def CreateString(self, text: Any, *options: Any) -> int:  # noqa: N802 - overridden
            if text not in self._places:
                self._places[text] = super().CreateString(text, *options)
            return self._places[text]

        def CreateNumpyVector(self, values: NDArray[Any]) -> int:  # noqa: N802 - overridden
            if values.dtype == np.uint8:  # a constant, which has its own alignment
                return int(super().CreateNumpyVector(values))
            key = values.dtype.str, values.tobytes()
            if key not in self._places:
                self._places[key] = super().CreateNumpyVector(values)
            return self._places[key]

    return SharingBuilder()


class _AlignedBuffer:
    """A ``schema.BufferT`` whose bytes start at a multiple of 16; its own ``Pack`` takes any."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def Pack(self, builder: Any) -> int:  # noqa: N802 - what the schema's classes call
        if self._buffer.data is not None:
            builder.Prep(ALIGNMENT, len(self._buffer.data))
        return int(self._buffer.Pack(builder))


def _drop_converter_entries(model: Any) -> None:
    entries = model.metadata or ()
    model.metadata = [entry for entry in entries if entry.name not in _CONVERTER_ENTRIES]


def _share_empty_buffers(graph: TFLiteGraph) -> None:
    """Points all tensors without a constant to buffer 0, which the format keeps empty for them."""
    model = graph.model
    tensors = [tensor for part in model.subgraphs for tensor in part.tensors]
    for tensor in tensors:
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            tensor.buffer = 0
    pointing = [*tensors, *model.metadata]
    used = sorted({0, *(one.buffer for one in pointing)})
    places = {before: after for after, before in enumerate(used)}
    model.buffers = [model.buffers[before] for before in used]
    for one in pointing:
        one.buffer = places[one.buffer]


def _name_by_layer(graph: TFLiteGraph) -> None:
    """Names each tensor by the layer of its last operator; the graph's ends keep their names."""
    inner = graph.graph
    ends = {*inner.inputs, *inner.outputs}
    taken = {inner.tensors[index].name for index in ends}
    for index, tensor in enumerate(inner.tensors):
        if index in ends:
            continue
        name = _layer(tensor.name.decode())
        number = 2
        while name.encode() in taken:  # readers look tensors up by their names
            name, number = f"{_layer(tensor.name.decode())}:{number}", number + 1
        tensor.name = name.encode()
        taken.add(tensor.name)


def _layer(path: str) -> str:
    """``conv`` of ``edgecell_1/relu_1/Relu;edgecell_1/conv_1/BiasAdd``; other paths as they are."""
    last = path.rsplit(";", 1)[-1]
    if not _OUR_PATH.match(last):
        return path
    return _AGAIN.sub("", last.split("/")[1])
