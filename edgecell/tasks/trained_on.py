"""Whether images are the very ones that a model was made with."""

from collections.abc import Iterable

from edgecell import console
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.labelled import data_sha256


def warn_of_training_images(artifact: Artifact, hashes: Iterable[tuple[str, str]]) -> None:
    """Says so where images are those of an artifact's training.

    Args:
        artifact: Its manifest names the data.
        hashes: Of each image that can be read its SHA-256 and its name.
    """
    if data_sha256(hashes) == artifact.manifest.source.data_sha256:
        console.warn(
            "These are the very images that the model was made with, training patients included: "
            f"the figures are too good. `edgecell inspect {artifact.path}` shows those on unseen "
            "patients."
        )
