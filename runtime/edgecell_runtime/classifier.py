"""The classifier: a session with preprocessing, labels, head and threshold around it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bundled import bundled_file
from edgecell_runtime.engines import Session
from edgecell_runtime.errors import EngineError, ImageError
from edgecell_runtime.images import ImageSource
from edgecell_runtime.inference import Inference
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.proving import EngineTrial, open_proved
from edgecell_runtime.session_pool import SessionPool
from edgecell_runtime.threads import allowed_cpus

if TYPE_CHECKING:  # asyncio takes longer to import than all of this package
    from edgecell_runtime.streaming import Frames, PredictionStream


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: The most probable label.
        probability: Of that label, 0-1.
        probabilities: By label, summing to 1.
        positive: Whether the positive label's probability reaches the threshold; None where the
            artifact names no positive label.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    positive: bool | None


class Classifier:
    """Classifies images with one artifact; may be called from any thread.

    Attributes:
        manifest: What the artifact says of itself.
        engine: Name of the engine that runs it.
        engine_report: The engines that were tried, why each was passed over or accepted.
        threads: Threads that the engine was given, for each session.
        sessions: How many calls run side by side; further ones wait.
    """

    def __init__(
        self,
        session: Session,
        manifest: Manifest,
        *,
        engine: str = "custom",
        threads: int = 1,
        engine_report: tuple[EngineTrial, ...] = (),
    ) -> None:
        pool = session if isinstance(session, SessionPool) else SessionPool([session])
        self._inference = Inference(pool, manifest)
        self.manifest = manifest
        self.engine = engine
        self.engine_report = engine_report
        self.threads = threads
        self.sessions = pool.size

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str | None = None,
        threads: int | None = None,
        sessions: int = 1,
    ) -> Self:
        """Opens an artifact with the first engine that gives its golden answers.

        Args:
            path: A ``.tflite`` or ``.onnx`` file that `edgecell export` wrote.
            engine: Name of an engine; None tries those for the format in their written order.
            threads: Threads for each session; None shares out the CPUs that this process may use.
            sessions: How many times the model is loaded. With one, calls from several threads wait
                for each other; with n, n of them run side by side.

        Raises:
            ArtifactError: The file is missing, damaged or not an artifact.
            EngineError: No engine runs it, or none gives its golden answers.
            MissingPartError: The engine's library is not installed.
        """
        return cls.of_artifact(
            read_artifact(Path(path)), engine=engine, threads=threads, sessions=sessions
        )

    @classmethod
    def bundled(
        cls,
        name: str,
        *,
        engine: str | None = None,
        threads: int | None = None,
        sessions: int = 1,
    ) -> Self:
        """Opens a bundled model, such as ``cell-nano``; see ``bundled_names``.

        They are TFLite files: `edgecell[tflite]` runs them. The other arguments are those of
        ``open``.

        Raises:
            ArtifactError: There is none of that name.
            EngineError: As in ``open``.
            MissingPartError: As in ``open``.
        """
        return cls.open(bundled_file(name), engine=engine, threads=threads, sessions=sessions)

    @classmethod
    def of_artifact(
        cls,
        artifact: Artifact,
        *,
        engine: str | None = None,
        threads: int | None = None,
        sessions: int = 1,
    ) -> Self:
        """Opens an artifact that was read already; arguments and errors as in ``open``."""
        if sessions < 1:
            raise EngineError(f"A classifier needs at least one session, not {sessions}.")
        if threads is not None and threads < 1:
            raise EngineError(f"An engine needs at least one thread, not {threads}.")
        count = threads or max(1, allowed_cpus() // sessions)
        proved = open_proved(artifact, engine, threads=count, sessions=sessions)
        return cls(
            proved.sessions,
            artifact.manifest,
            engine=proved.name,
            threads=count,
            engine_report=proved.report,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of ``probabilities``."""
        return self.manifest.labels

    def predict(self, image: ImageSource) -> Prediction:
        """Classifies one image.

        Args:
            image: A path, the bytes of an image file, a binary file, a Pillow image, or a uint8
                array of shape (height, width, 3), RGB, 0-255, of any size. An array of the size of
                the manifest's preprocessing takes the shortest way. Where the model takes volumes:
                the path, the bytes or the open file of a ``.npy``, or a uint8 array, each of the
                shape (depth, height, width, channels) of the manifest's preprocessing.

        Raises:
            ImageError: The image cannot be read, or is refused.
            EngineError: The engine failed, the classifier is closed, or it was opened before this
                process was forked.
        """
        manifest = self.manifest
        pixels = manifest.preprocessing.apply(image)
        (logits,) = self._inference.logits(pixels[np.newaxis])
        return self._prediction(manifest.head.of_one(logits, manifest.labels, manifest.temperature))

    @overload
    def predict_many(
        self,
        images: Iterable[ImageSource],
        *,
        return_exceptions: Literal[False] = False,
        workers: int | None = None,
    ) -> Iterator[Prediction]: ...

    @overload
    def predict_many(
        self,
        images: Iterable[ImageSource],
        *,
        return_exceptions: Literal[True],
        workers: int | None = None,
    ) -> Iterator[Prediction | ImageError]: ...

    def predict_many(
        self,
        images: Iterable[ImageSource],
        *,
        return_exceptions: bool = False,
        workers: int | None = None,
    ) -> Iterator[Prediction | ImageError]:
        """Classifies many images: decoded in several threads, answered in their order.

        Images are taken from the iterable as they are needed, at most ``16 * (2 * workers + 1)``
        ahead: give paths and not arrays where images are large. For a camera, see
        ``stream``; for the most images a second, open the classifier with ``threads=1`` and as many
        sessions as there are CPUs.

        Args:
            images: Any iterable of what ``predict`` takes.
            return_exceptions: Whether an image that cannot be read gives its ``ImageError`` in its
                place. Otherwise it is raised there, and ends the answers.
            workers: Threads; None takes the CPUs that this process may use.

        Yields:
            One answer an image.

        Raises:
            ImageError: An image cannot be read, or is refused.
            EngineError: As in ``predict``.
            UsageError: There are fewer than one worker.
        """
        from edgecell_runtime.bulk import map_in_order

        if isinstance(images, str | bytes | os.PathLike) or self._is_one(images):
            raise ImageError(
                "predict_many takes several images and was given one; put it into a list, or call "
                "predict."
            )
        count = allowed_cpus() if workers is None else workers
        answers = map_in_order(self._answer_each, images, workers=count)
        for answer in answers:
            if isinstance(answer, ImageError) and not return_exceptions:
                raise answer
            yield answer

    @overload
    def stream(
        self, frames: "Frames", *, return_exceptions: Literal[False] = False
    ) -> "PredictionStream[Prediction]": ...

    @overload
    def stream(
        self, frames: "Frames", *, return_exceptions: Literal[True]
    ) -> "PredictionStream[Prediction | ImageError]": ...

    def stream(
        self, frames: "Frames", *, return_exceptions: bool = False
    ) -> "PredictionStream[Prediction] | PredictionStream[Prediction | ImageError]":
        """Classifies the frames of a camera as they come, for ``async for``.

        While one frame is classified, newer ones take each other's place: the next answer is for
        the newest. ``stream.dropped`` counts the others, ``stream.frame`` says which one was taken
        last. The event loop is never blocked.

        Args:
            frames: An asynchronous or a plain iterable of what ``predict`` takes; a plain one is
                read in a thread of its own. An array must not be written to after it was given.
            return_exceptions: Whether a frame that cannot be read gives its ``ImageError`` as its
                answer. Otherwise it is raised, and ends the stream.

        Returns:
            An asynchronous iterator; ``aclose`` or ``async with`` ends it early. What the camera
            raises, it raises after the answer to the last frame.
        """
        from edgecell_runtime.streaming import PredictionStream

        if return_exceptions:
            return PredictionStream(lambda frame: self._answer_each([frame])[0], frames)
        return PredictionStream(self.predict, frames)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Classifies pixels that are preprocessed already.

        Args:
            pixels: uint8 (n, height, width, channels) of the manifest's preprocessing, 0-255.

        Returns:
            float64 (n, labels), rows summing to 1.

        Raises:
            ImageError: The array is of another dtype or shape.
            EngineError: As in ``predict``.
        """
        return self.manifest.head.probabilities(
            self.logits(pixels), self.labels, self.manifest.temperature
        )

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The graph's outputs as real numbers, float64 (n, outputs); see ``probabilities``."""
        expected = self.manifest.preprocessing.shape
        if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
            raise ImageError(
                f"The pixels are {pixels.dtype} of shape {pixels.shape}; expected uint8 of shape "
                f"(n, {', '.join(str(size) for size in expected)})."
            )
        if not len(pixels):
            return np.empty((0, self.manifest.head.output_count(self.labels)))
        return np.array(self._inference.logits(pixels))

    def close(self) -> None:
        """Frees the model; a second call does nothing."""
        self._inference.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_one(self, images: object) -> bool:
        """Whether an array is a single image, or volume, which would be taken for several."""
        several = len(self.manifest.preprocessing.shape) + 1
        return getattr(images, "ndim", several) < several

    def _predictions(self, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """Answers for preprocessed pixels, uint8 (n, height, width, channels)."""
        manifest = self.manifest
        labels, temperature = manifest.labels, manifest.temperature
        rows = self._inference.logits(pixels)
        return [self._prediction(manifest.head.of_one(row, labels, temperature)) for row in rows]

    def _prediction(self, probabilities: list[float]) -> Prediction:
        manifest = self.manifest
        probability = max(probabilities)
        by_label = dict(zip(manifest.labels, probabilities, strict=True))
        positive = manifest.positive_label
        return Prediction(
            manifest.labels[probabilities.index(probability)],
            probability,
            by_label,
            None if positive is None else by_label[positive] >= manifest.threshold,
        )

    def _answer_each(self, images: list[ImageSource]) -> list[Prediction | ImageError]:
        """Answers some images, with the reason in place of what cannot be read."""
        apply = self.manifest.preprocessing.apply
        prepared: list[NDArray[np.uint8] | ImageError] = []
        for image in images:
            try:
                prepared.append(apply(image))
            except ImageError as error:
                prepared.append(error)
        readable = [item for item in prepared if not isinstance(item, ImageError)]
        predictions = iter(self._predictions(np.stack(readable)) if readable else ())
        return [item if isinstance(item, ImageError) else next(predictions) for item in prepared]
