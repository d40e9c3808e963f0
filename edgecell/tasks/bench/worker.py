"""The measuring process on a workstation: the runtime's, which opens SavedModels too."""

import sys
from pathlib import Path

from edgecell_runtime.bench import worker
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.errors import UsageError

COMMAND = (sys.executable, "-m", "edgecell.tasks.bench.worker")
"""What ``workers.Launch`` starts."""


def load_library(target: Target) -> None:
    """Imports the engine's library, TensorFlow for a SavedModel.

    Raises:
        EngineError: There is no such engine.
        MissingPartError: TensorFlow is not installed.
    """
    if not savedmodel.recognises(Path(target.artifact)):
        worker.load_library(target)
        return
    from edgecell_export.tensorflow import import_tensorflow

    import_tensorflow()


def open_target(target: Target) -> Classifier:
    """Opens an artifact of any format.

    Raises:
        UsageError: A SavedModel was asked to run in another engine than TensorFlow.
        ArtifactError: The file is missing, damaged or not an artifact.
        EngineError: No engine runs it, or none gives its golden answers.
        MissingPartError: The engine's library is not installed.
    """
    path = Path(target.artifact)
    if not savedmodel.recognises(path):
        return worker.open_target(target)
    from edgecell_export.savedmodel_session import ENGINE_NAME, open_classifier

    if target.engine not in ("", ENGINE_NAME):
        raise UsageError(
            f"A SavedModel runs in {ENGINE_NAME} only, not in {target.engine}; leave the engine "
            "out, or export the run to TFLite or ONNX."
        )
    return open_classifier(path, threads=target.threads or None)


if __name__ == "__main__":
    sys.exit(worker.main(worker.Opener(load_library, open_target)))
