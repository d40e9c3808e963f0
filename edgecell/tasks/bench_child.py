"""The process that ``edgecell bench`` starts for each artifact: a job in, a result out, as JSON."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.benchmark import BenchmarkJob, run_benchmark
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.labelled import LabelledImages
from edgecell_train.hdf5_images import open_data


def main() -> int:
    """Reads a ``BenchmarkJob`` from standard input and prints a ``BenchmarkResult``."""
    job = codec.loads(BenchmarkJob, sys.stdin.read(), "job")
    try:
        print(codec.dumps(run_benchmark(job, _opener(Path(job.artifact)), _open_images)))
    except EdgecellError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _opener(path: Path) -> Callable[[Path, int | None], Classifier]:
    """How to open the artifact; its engine's library is imported first, which is no load time."""
    if savedmodel.recognises(path):
        from edgecell_export.savedmodel_session import open_classifier
        from edgecell_export.tensorflow import import_tensorflow

        import_tensorflow()
        return lambda artifact, threads: open_classifier(artifact, threads=threads)
    module = engine_for(read_artifact(path).format).module
    importlib.import_module(module)
    return lambda artifact, threads: Classifier.open(artifact, threads=threads)


def _open_images(path: Path) -> LabelledImages:
    return open_data(path, minimum_labels=1)


if __name__ == "__main__":
    sys.exit(main())
