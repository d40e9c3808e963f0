"""What a query of each scenario and stage is: which images, how they are asked for, what is kept.

Images are rotated in one shuffled order over all of them, so that no cache keeps the next one; the
order is the same for all targets. Pixels are read into one buffer right before they are asked for:
a memory map would count as the process's memory, and its page faults as the query's time.
"""

import io
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench.loop import Subject
from edgecell_runtime.bench.plan import Stage
from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.errors import DataError, StorageError
from edgecell_runtime.images import ImageSource

_NPY: Final = b"\x93NUMPY"


class PixelRows:
    """The rows of a ``.npy`` file, read one at a time.

    Args:
        path: uint8 (n, height, width, channels).
        count: How many rows there have to be.
        shape: Of one.

    Raises:
        DataError: It is another array.
        StorageError: It cannot be read.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...]) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            self._begins = self._skip_header(path, (count, *shape))
        except BaseException:
            self.close()
            raise
        self._size = int(np.prod(shape))

    def read_into(self, buffer: NDArray[np.uint8], row: int) -> None:
        """Fills ``buffer``, uint8 of a row's shape, with a row."""
        self._file.seek(self._begins + row * self._size)
        read = self._file.readinto(buffer.data)
        if read != self._size:
            raise StorageError(
                "The benchmark's pixels were cut short while it ran; start it again."
            )

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _skip_header(self, path: Path, wanted: tuple[int, ...]) -> int:
        formats = np.lib.format
        try:
            first = formats.read_magic(self._file) == (1, 0)
            read = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
            found, fortran, dtype = read(self._file)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if found != wanted or fortran or dtype != np.uint8:
            raise DataError(
                f"{path} holds {dtype} {found}; expected uint8 {wanted}. Start the benchmark again."
            )
        return self._file.tell()


class Answers:
    """The first answer to each image, of queries that were measured.

    Args:
        images: How many there are.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._rows: dict[int, NDArray[np.float64]] = {}

    def keep(self, image: int, row: NDArray[np.float64]) -> None:
        """Keeps an answer, if it is the image's first."""
        if image not in self._rows:
            self._rows[image] = row

    def has(self, image: int) -> bool:
        """Whether the image was answered already."""
        return image in self._rows

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The images' numbers and their answers; they are forgotten."""
        rows, self._rows = self._rows, {}
        return np.array(list(rows), np.int64), np.array(list(rows.values()), np.float64)


class Queries(Protocol):
    """The queries of a stage."""

    def subject(self, batch: int) -> Subject[Any, Any]:
        """Queries of so many images, which are measured by ``loop``."""

    def probabilities(self) -> NDArray[np.float64]:
        """What was answered since the last time: float64 (images, labels), NaN where not asked."""

    def close(self) -> None:
        """Lets go of the inputs; the classifier stays open."""


class Rotation:
    """Which images a query asks for.

    Args:
        images: How many there are.
        seed: Of their order.
        first: Where in that order query 0 begins.
    """

    def __init__(self, images: int, seed: int, first: int = 0) -> None:
        self.images = images
        self._order = np.random.default_rng(seed).permutation(images).tolist()
        self._first = first

    def of(self, query: int, batch: int) -> list[int]:
        """The images of a query; its number may be negative."""
        begins = self._first + query * batch
        return [self._order[(begins + i) % self.images] for i in range(batch)]


class ModelQueries:
    """Stage ``model``: preprocessed pixels to logits."""

    def __init__(self, classifier: Classifier, pixels: PixelRows, rotation: Rotation) -> None:
        self._classifier = classifier
        self._pixels = pixels
        self._rotation = rotation
        self._answers = Answers(rotation.images)

    def subject(self, batch: int) -> Subject[NDArray[np.uint8], NDArray[np.float64]]:
        """See ``Queries``."""
        shape = self._classifier.manifest.preprocessing.shape
        buffer = np.zeros((batch, *shape), np.uint8)

        def prepare(query: int) -> NDArray[np.uint8]:
            for row, image in zip(buffer, self._rotation.of(query, batch), strict=True):
                self._pixels.read_into(row, image)
            return buffer

        def keep(query: int, logits: NDArray[np.float64]) -> None:
            for image, row in zip(self._rotation.of(query, batch), logits, strict=True):
                self._answers.keep(image, row)

        return Subject(prepare, self._classifier.logits, keep)

    def probabilities(self) -> NDArray[np.float64]:
        """See ``Queries``."""
        manifest = self._classifier.manifest
        found = np.full((self._rotation.images, len(manifest.labels)), np.nan)
        images, logits = self._answers.take()
        if images.size:
            found[images] = manifest.head.probabilities(
                logits, manifest.labels, manifest.temperature
            )
        return found

    def close(self) -> None:
        """See ``Queries``."""
        self._pixels.close()


class PipelineQueries:
    """Stage ``pipeline``: image files' bytes to predictions."""

    def __init__(self, classifier: Classifier, folder: Path, rotation: Rotation) -> None:
        self._classifier = classifier
        self._folder = folder
        self._rotation = rotation
        self._answers = Answers(rotation.images)

    def subject(self, batch: int) -> Subject[list[ImageSource], list[Prediction]]:
        """See ``Queries``."""
        classifier, rotation = self._classifier, self._rotation

        def prepare(query: int) -> list[ImageSource]:
            return [self._read(image) for image in rotation.of(query, batch)]

        def ask_one(images: list[ImageSource]) -> list[Prediction]:
            return [classifier.predict(images[0])]

        def ask_many(images: list[ImageSource]) -> list[Prediction]:
            return list(classifier.predict_many(images, workers=classifier.threads))

        def keep(query: int, predictions: list[Prediction]) -> None:
            for image, prediction in zip(rotation.of(query, batch), predictions, strict=True):
                if not self._answers.has(image):
                    row = [prediction.probabilities[label] for label in classifier.labels]
                    self._answers.keep(image, np.array(row))

        return Subject(prepare, ask_one if batch == 1 else ask_many, keep)

    def probabilities(self) -> NDArray[np.float64]:
        """See ``Queries``."""
        found = np.full((self._rotation.images, len(self._classifier.labels)), np.nan)
        images, rows = self._answers.take()
        if images.size:
            found[images] = rows
        return found

    def close(self) -> None:
        """See ``Queries``; each file was closed when it was read."""

    def _read(self, image: int) -> ImageSource:
        """An image file's bytes; of an array that lies there as ``.npy``, the array."""
        path = self._folder / str(image)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        if data.startswith(_NPY) and self._classifier.manifest.preprocessing.depth is None:
            pixels: NDArray[np.uint8] = np.load(io.BytesIO(data), allow_pickle=False)
            return pixels
        return data


def open_queries(classifier: Classifier, stage: Stage, inputs: Path, rotation: Rotation) -> Queries:
    """The queries of a stage.

    Args:
        classifier: That answers.
        stage: See ``plan.Stage``.
        inputs: See ``plan.Job``.
        rotation: Which images.

    Raises:
        DataError: The inputs are not those of the job.
        StorageError: They cannot be read.
    """
    if stage == "pipeline":
        return PipelineQueries(classifier, inputs / "files", rotation)
    shape = classifier.manifest.preprocessing.shape
    path = inputs / pixels_name(shape)
    return ModelQueries(classifier, PixelRows(path, rotation.images, shape), rotation)


def pixels_name(shape: tuple[int, ...]) -> str:
    """The file of the pixels of a shape, such as ``64x64x3.npy``."""
    return "x".join(map(str, shape)) + ".npy"


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"The benchmark's input {path} cannot be read: {error}. Start it again.")
