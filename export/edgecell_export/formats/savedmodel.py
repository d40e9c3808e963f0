"""SavedModel, TensorFlow's own format: the exact float model, for servers and other converters."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import ADVICE, Conversion, Converter, Kernels
from edgecell_export.keras_build import build_model
from edgecell_export.operators import Operators, savedmodel_operators
from edgecell_export.output_capture import converter_output
from edgecell_export.savedmodel_session import SavedModelSession
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.containers import savedmodel as container
from edgecell_runtime.errors import ConversionError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import Signature

_OTHER_FORMATS = "a SavedModel holds TensorFlow's float operators; TFLite has this recipe"


class SavedModelConverter(Converter):
    """Writes ``.savedmodel`` folders with an open batch size, or a fixed one."""

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
        batch = conversion.batch or None
        model = build_model(conversion.graph, input_dtype="uint8", batch=batch)
        # Without a signature Keras leaves the batch size open, whatever the model's own.
        signature = None if batch is None else [_image_spec(batch, conversion.graph.input_shape)]
        with converter_output() as output:
            try:
                model.export(path, "tf_saved_model", verbose=False, input_signature=signature)
            except Exception as error:  # noqa: BLE001 - TensorFlow raises of every kind
                failure = error
            else:
                return
        raise ConversionError(
            f"Keras could not write a SavedModel: {failure}. {ADVICE} It printed: {output[0]}"
        ) from failure

    def signature(self, path: Path) -> Signature:
        with SavedModelSession(path) as session:
            return session.signature

    def kernels(self, path: Path) -> list[Kernels]:
        """TensorFlow has one set."""

        def answers(batches: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
            with SavedModelSession(path) as session:
                return [session.run((batch,))[0] for batch in batches]

        return [Kernels("tensorflow", answers)]

    def operators(self, path: Path) -> Operators:
        return savedmodel_operators(path)

    def check(self, path: Path, conversion: Conversion) -> None:
        """The one recipe promises floats, which parity proves."""

    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        if artifact.exists():
            shutil.rmtree(artifact)
        shutil.copytree(model, artifact)
        container.seal(artifact, manifest)


def _image_spec(batch: int, shape: tuple[int, ...]) -> Any:
    tensorflow = import_tensorflow()
    return tensorflow.TensorSpec((batch, *shape), tensorflow.uint8, "image")
