"""The SavedModel session: TensorFlow behind the runtime's ``Session``.

TensorFlow takes only paths. An artifact is therefore copied while it is hashed, into a folder that
nobody else can write to, and loaded from there: what was checked is what runs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.output_capture import converter_output
from edgecell_export.savedmodel_graph import refuse_hostile
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines.base import Session, describe_tensor
from edgecell_runtime.errors import EngineError, FormatError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.proving import EngineTrial, prove
from edgecell_runtime.signature import Signature, TensorSpec
from edgecell_runtime.threads import allowed_cpus

ENGINE_NAME = "tensorflow"


class SavedModelSession(Session):
    """A SavedModel's ``serving_default`` in TensorFlow.

    Args:
        folder: The SavedModel; it is not needed any more once the session is open.
        threads: How many; None for TensorFlow's own choice.

    Raises:
        FormatError: The graph would do more than compute.
        EngineError: TensorFlow refuses it.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        tensorflow = import_tensorflow()
        if threads is not None:
            _set_threads(tensorflow, threads)
        try:
            serialised = (folder / "saved_model.pb").read_bytes()
        except OSError as error:
            raise EngineError(f"The SavedModel's graph cannot be read: {error}.") from error
        refuse_hostile(serialised)
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
        if len(inputs) != len(expected) or not all(map(TensorSpec.accepts, expected, inputs)):
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
        EngineError: No engine runs it, or none gives its golden answers.
        MissingPartError: The engine's library is not installed.
    """
    if not savedmodel.recognises(path):
        with converter_output():
            return Classifier.open(path, threads=threads)
    if threads is not None and threads < 1:
        raise EngineError(f"An engine needs at least one thread, not {threads}.")
    count = threads or allowed_cpus()
    session, manifest = _open_copy(path, count)
    try:
        reason = prove(session, manifest)
        trial = EngineTrial(ENGINE_NAME, import_tensorflow().__version__, True, reason)
        return Classifier(
            session, manifest, engine=ENGINE_NAME, threads=count, engine_report=(trial,)
        )
    except BaseException:
        session.close()
        raise


def _open_copy(path: Path, threads: int) -> tuple[SavedModelSession, Manifest]:
    """Loads the very bytes that were hashed; the copy is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="edgecell-", ignore_cleanup_errors=True) as private:
        copy = Path(private) / "model"
        artifact = read_artifact(path, copy=copy)
        try:
            return SavedModelSession(copy, threads), artifact.manifest
        except FormatError as error:
            raise FormatError(f"{path} is refused. {error}") from error


def _set_threads(tensorflow: Any, threads: int) -> None:
    """TensorFlow's threads are the process's, and are fixed once it has computed something."""
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return


def _spec(name: str, spec: Any) -> TensorSpec:
    return describe_tensor(name, spec.dtype.name, tuple(spec.shape))
