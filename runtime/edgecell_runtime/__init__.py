"""Runs edgecell artifacts on a device: NumPy, Pillow and one engine, no TensorFlow.

::

    from edgecell_runtime import Classifier

    with Classifier.open("malaria.tflite") as classifier:
        prediction = classifier.predict("cell.png")
        print(prediction.label, prediction.probability)
"""

from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bundled import bundled_names
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.errors import (
    ArtifactError,
    EdgecellError,
    EngineError,
    ImageError,
    MissingPartError,
)
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.preprocess import PreprocessSpec

__all__ = [
    "Artifact",
    "ArtifactError",
    "Classifier",
    "EdgecellError",
    "EngineError",
    "ImageError",
    "Manifest",
    "MissingPartError",
    "Prediction",
    "PreprocessSpec",
    "bundled_names",
    "read_artifact",
]
