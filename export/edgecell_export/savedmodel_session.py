"""The SavedModel session: TensorFlow behind the runtime's ``Session``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.output_capture import converter_output
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines.base import Session, describe_tensor
from edgecell_runtime.errors import EngineError
from edgecell_runtime.signature import Signature, TensorSpec
from edgecell_runtime.threads import allowed_cpus

ENGINE_NAME = "tensorflow"


class SavedModelSession(Session):
    """A SavedModel's ``serving_default`` in TensorFlow."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        tensorflow = import_tensorflow()
        if threads is not None:
            _set_threads(tensorflow, threads)
        try:
            with converter_output():
                loaded = tensorflow.saved_model.load(str(folder))
            graph = loaded.signatures["serving_default"]
        except Exception as error:  # TensorFlow raises of every kind
            raise EngineError(f"TensorFlow refuses the SavedModel: {error}") from error
        self._loaded: Any = loaded  # its variables live as long as it does
        self._graph: Any = graph
        self._tensorflow = tensorflow
        _, inputs = graph.structured_input_signature
        self.signature = Signature(
            tuple(_spec(name, spec) for name, spec in inputs.items()),
            tuple(_spec(name, spec) for name, spec in graph.structured_outputs.items()),
        )

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        """Runs the graph once; see ``Session``."""
        if self._graph is None:
            raise EngineError("The session is closed.")
        expected = self.signature.inputs
        if len(inputs) != len(expected) or not all(map(_fits, inputs, expected)):
            found = ", ".join(f"{array.dtype} {array.shape}" for array in inputs) or "nothing"
            wanted = ", ".join(f"{spec.dtype} {spec.shape}" for spec in expected)
            raise EngineError(f"The SavedModel takes {wanted}; it was given {found}.")
        names = [spec.name for spec in expected]
        try:
            feed = {
                name: self._tensorflow.constant(array)
                for name, array in zip(names, inputs, strict=True)
            }
            outputs = self._graph(**feed)
        except Exception as error:  # as above
            raise EngineError(f"TensorFlow failed: {error}") from error
        return tuple(outputs[spec.name].numpy() for spec in self.signature.outputs)

    def close(self) -> None:
        """Frees the model; see ``Session``."""
        self._loaded = self._graph = None


def open_classifier(path: Path, *, threads: int | None = None) -> Classifier:
    """Opens an artifact of any format, SavedModel included, without its engine's chatter.

    Raises:
        ArtifactError: The file is missing, damaged or not an artifact.
        EngineError: No engine runs it.
        MissingPartError: The engine's library is not installed.
    """
    if not savedmodel.recognises(path):
        with converter_output():
            return Classifier.open(path, threads=threads)
    artifact = read_artifact(path)
    if threads is not None and threads < 1:
        raise EngineError(f"An engine needs at least one thread, not {threads}.")
    count = threads or allowed_cpus()
    session = SavedModelSession(path, count)
    try:
        return Classifier(session, artifact.manifest, engine=ENGINE_NAME, threads=count)
    except BaseException:
        session.close()
        raise


def _set_threads(tensorflow: Any, threads: int) -> None:
    """TensorFlow's threads are the process's, and are fixed once it has computed something."""
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return


def _fits(array: NDArray[np.generic], spec: TensorSpec) -> bool:
    """TensorFlow itself checks dtypes, but neither sizes nor the number of dimensions."""
    return (
        array.dtype == spec.dtype
        and array.ndim == len(spec.shape)
        and all(
            wanted in (None, size) for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
    )


def _spec(name: str, spec: Any) -> TensorSpec:
    return describe_tensor(name, spec.dtype.name, tuple(spec.shape))
