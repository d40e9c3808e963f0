"""TFLite's own metadata: what readers that know nothing of edgecell learn about a model.

MediaPipe, Android's Task Library and other tools read labels, colour order and normalisation from
a flatbuffer in the model's buffer ``TFLITE_METADATA``; the files that it names lie in the archive
behind the model, where our manifest lies too (``edgecell_runtime.containers.tflite``). Its schema,
metadata_schema.fbs of tflite-support, has some thirty tables; the few that a classifier needs are
written here by the numbers of their fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.formats.tflite_packing import pack
from edgecell_runtime.containers.tflite import MANIFEST_NAME, output_labels_name
from edgecell_runtime.heads import HeadKind
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import TensorSpec

ENTRY_NAME = "TFLITE_METADATA"
"""The model's buffer of this name holds the metadata."""

_METADATA_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # every field below was there from the schema's first version on

# Of the schema's enumerations and unions.
_RGB, _GRAYSCALE = 1, 2
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_DESCRIPTIONS, _TENSOR_AXIS_LABELS = 1, 2

_PROBABILITIES: dict[HeadKind, str] = {
    "softmax": "one logit a label; their softmax gives the probabilities",
    "normalised_sigmoid": (
        "one logit a label; their sigmoids, divided by their sum, give the probabilities"
    ),
    "probabilities": "",
    "sigmoid": "the logit of {label} alone; its sigmoid gives that label's probability",
}


@dataclass(frozen=True)
class Table:
    """A flatbuffer's table.

    Attributes:
        fields: By their number: a text, an enumeration's value (one byte), float32 values, a table
            or several.
    """

    fields: Mapping[int, "str | int | NDArray[np.float32] | Table | tuple[Table, ...]"]

    def write(self, builder: Any) -> int:
        """Adds the table to a ``flatbuffers.Builder``; returns its offset there."""
        offsets = {number: _offset(builder, value) for number, value in self.fields.items()}
        builder.StartObject(max(self.fields, default=-1) + 1)
        for number, value in self.fields.items():
            if isinstance(value, int):
                builder.PrependInt8Slot(number, value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(number, offsets[number], 0)
        return int(builder.EndObject())


def _offset(
    builder: Any, value: str | int | NDArray[np.float32] | Table | tuple[Table, ...]
) -> int:
    """Writes what lies outside of its table; 0 for what lies inside."""
    if isinstance(value, int):
        return 0
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Table):
        return value.write(builder)
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    offsets = [table.write(builder) for table in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def with_metadata(model: bytes, manifest: Manifest) -> bytes:
    """Adds the standard metadata to a model that has none.

    The model is written anew (``tflite_packing``).

    Args:
        model: A TFLite file as the converter wrote it, nothing behind it.
        manifest: What the artifact says of itself.

    Returns:
        The model, with the same graph. The same arguments give the same bytes.

    Raises:
        MissingPartError: LiteRT, which brings the format's schema, is not installed.
    """
    graph = TFLiteGraph(model)
    import flatbuffers  # comes with LiteRT

    schema, parsed = graph.schema, graph.model
    builder = flatbuffers.Builder(1024)
    builder.Finish(_model(manifest).write(builder), file_identifier=_METADATA_IDENTIFIER)
    metadata = np.frombuffer(builder.Output(), np.uint8)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer, buffer.data = ENTRY_NAME, len(parsed.buffers), metadata
    parsed.metadata = [*(parsed.metadata or ()), entry]
    parsed.buffers = [*parsed.buffers, buffer]
    return pack(graph)


def _model(manifest: Manifest) -> Table:
    """ModelMetadata. What nobody told us stays out: author (4) and license (5)."""
    subgraph = Table(
        {
            2: (_input(manifest),),  # input_tensor_metadata
            3: (_output(manifest),),  # output_tensor_metadata
        }
    )
    return Table(
        {
            0: f"edgecell image classifier, {manifest.recipe}",  # name
            1: _description(manifest),  # description
            2: manifest.source.weights_sha256[:12],  # version
            3: (subgraph,),  # subgraph_metadata
            6: (_file(MANIFEST_NAME, _DESCRIPTIONS),),  # associated_files
            7: _PARSER_VERSION,  # min_parser_version
        }
    )


def _description(manifest: Manifest) -> str:
    sentences = [f"Classifies images as {' or '.join(manifest.labels)}."]
    if manifest.source.drawn:
        sentences.append("Trained on drawn images, not on real ones.")
    sentences.append("Research software, no medical device.")
    return " ".join(sentences)


def _input(manifest: Manifest) -> Table:
    """TensorMetadata of the image."""
    spec, preprocessing = manifest.signature.inputs[0], manifest.preprocessing
    content = Table(
        {
            0: _IMAGE,  # content_properties_type
            1: Table({0: _RGB if preprocessing.color_mode == "RGB" else _GRAYSCALE}),  # color_space
        }
    )
    return Table(
        {
            0: "image",  # name
            1: (  # description
                f"{preprocessing.height} x {preprocessing.width} pixels, "
                f"{'RGB' if preprocessing.color_mode == 'RGB' else 'grey'}, 0-255 as they are; "
                f"other sizes are resized, {preprocessing.interpolation} with anti-aliasing."
            ),
            3: content,  # content
            4: (_normalization(spec),),  # process_units
        }
    )


def _normalization(spec: TensorSpec) -> Table:
    """The ProcessUnit that makes real values of pixels: (pixel - mean) / std.

    Readers normalise, then quantise with the tensor's scale and zero point where it has them. A
    quantised input stands for pixels / 255, so both steps give the pixels back; another input takes
    the pixels themselves.
    """
    std = 1 if spec.quantization is None else 255
    return Table(
        {
            0: _NORMALIZATION,  # options_type
            1: Table({0: _floats(0), 1: _floats(std)}),  # options: mean, std
        }
    )


def _output(manifest: Manifest) -> Table:
    """TensorMetadata of the logits or probabilities."""
    head = manifest.head
    meaning = _PROBABILITIES[head.kind].format(label=head.label)
    if manifest.temperature != 1:
        meaning += f"; first divide by the temperature {manifest.temperature:g}"
    ends_in_head = head.kind == "probabilities"
    labels = _file(output_labels_name(manifest), _TENSOR_AXIS_LABELS)
    return Table(
        {
            0: "probabilities" if ends_in_head else "logits",  # name
            1: "One probability a label." if ends_in_head else f"Not probabilities: {meaning}.",
            3: Table({0: _FEATURE, 1: Table({})}),  # content
            6: (labels,),  # associated_files
        }
    )


def _file(name: str, kind: int) -> Table:
    """AssociatedFile: name, type."""
    return Table({0: name, 2: kind})


def _floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)
