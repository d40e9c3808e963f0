"""One format a file: a prepared graph and a recipe in, a model file out."""

from edgecell_export.formats.base import Converter
from edgecell_export.formats.onnx import ONNXConverter
from edgecell_export.formats.savedmodel import SavedModelConverter
from edgecell_export.formats.tflite import TFLiteConverter

CONVERTERS: dict[str, Converter] = {
    converter.format: converter
    for converter in (SavedModelConverter(), TFLiteConverter(), ONNXConverter())
}
