"""SavedModel, TensorFlow's own format: the exact float model, for servers and other converters."""

import shutil
from pathlib import Path

from edgecell_export.formats.base import Conversion, Converter
from edgecell_export.keras_chain import build_model
from edgecell_export.operators import Operators, savedmodel_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.recipes import Recipe
from edgecell_export.savedmodel_session import SavedModelSession
from edgecell_runtime.containers import savedmodel as container
from edgecell_runtime.errors import ConversionError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import Signature

_OTHER_FORMATS = "a SavedModel holds TensorFlow's float operators; TFLite has this recipe"


class SavedModelConverter(Converter):
    """Writes ``.savedmodel`` folders with an open batch size."""

    format = "savedmodel"
    suffix = ".savedmodel"
    recipes = ("float32",)
    lacking = dict.fromkeys(
        (
            "float16",
            "weight_only_int8",
            "weight_only_int4",
            "dynamic_int8",
            "static_int8",
            "static_int8_int16",
        ),
        _OTHER_FORMATS,
    )

    def convert(self, conversion: Conversion, path: Path) -> None:
        model = build_model(conversion.chain, input_dtype="uint8", batch=None)
        with converter_output() as output:
            try:
                model.export(path, format="tf_saved_model", verbose=False)
            except Exception as error:  # noqa: BLE001 - TensorFlow raises of every kind
                failure = error
            else:
                return
        raise ConversionError(
            f"Keras could not write a SavedModel: {failure}. It printed: {output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        with SavedModelSession(path) as session:
            return session.signature

    def operators(self, path: Path) -> Operators:
        return savedmodel_operators(path)

    def check(self, path: Path, recipe: Recipe) -> None:
        """The one recipe promises floats, which parity proves."""

    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        if artifact.exists():
            shutil.rmtree(artifact)
        shutil.copytree(model, artifact)
        container.seal(artifact, manifest)
