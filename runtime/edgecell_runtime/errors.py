"""Every error that edgecell raises on purpose.

::

    EdgecellError
    ├── UsageError              the call makes no sense as it stands (exit status 2)
    ├── MissingPartError        a part of edgecell (an extra) is not installed
    ├── StorageError            reading or writing a file failed: no space, no permission
    ├── ImageError              one image cannot be read or is refused
    ├── DataError               a set of labelled images cannot be used
    ├── ArtifactError           a file is not a usable artifact
    │   ├── FormatError         it is of another format than expected, or of none
    │   ├── IntegrityError      its bytes are not the ones that were sealed
    │   └── ManifestError       its manifest is missing, malformed or of an unknown version
    ├── EngineError             an inference library failed
    ├── RunError                a training run is missing or damaged
    ├── TrainingError           training cannot give a usable model
    ├── ExportError             no artifact was written
    │   ├── PreparationError    the graph cannot be prepared
    │   ├── ConversionError     a converter failed
    │   ├── RecipeError         the converted file is not what its recipe promises
    │   └── ParityError         the artifact's answers are not the source model's
    └── DownloadError           a file did not arrive whole

A message says what happened, what was expected and what to do. ``str(error)`` is that message.
"""

from typing import ClassVar


class EdgecellError(Exception):
    """Base of all errors that edgecell raises on purpose."""

    exit_status: ClassVar[int] = 1
    """What the command line exits with."""


class UsageError(EdgecellError):
    """The arguments contradict each other or make no sense."""

    exit_status: ClassVar[int] = 2


class MissingPartError(EdgecellError):
    """A part of edgecell that this call needs is not installed."""


class StorageError(EdgecellError):
    """A file could not be read or written."""


class ImageError(EdgecellError):
    """One image cannot be read, or is refused."""


class DataError(EdgecellError):
    """A set of labelled images cannot be used."""


class ArtifactError(EdgecellError):
    """A file is not a usable artifact."""


class FormatError(ArtifactError):
    """The file is of another format than its name says, or of none that is known."""


class IntegrityError(ArtifactError):
    """The file's bytes are not the ones that were sealed."""


class ManifestError(ArtifactError):
    """The manifest is missing, malformed, or of an unknown version."""


class EngineError(EdgecellError):
    """An inference library refused the model or failed while running it."""


class RunError(EdgecellError):
    """A training run is missing or damaged."""


class TrainingError(EdgecellError):
    """Training cannot give a usable model."""


class ExportError(EdgecellError):
    """No artifact was written."""


class PreparationError(ExportError):
    """The model cannot be turned into an inference graph."""


class ConversionError(ExportError):
    """A converter failed."""


class RecipeError(ExportError):
    """The converted file is not what its recipe promises."""


class ParityError(ExportError):
    """The artifact's answers differ from the source model's by more than the recipe allows."""


class DownloadError(EdgecellError):
    """A file did not arrive whole and unchanged."""
