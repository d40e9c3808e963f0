"""The classifier: a session with preprocessing, labels, head and threshold around it."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.engines import Session, engine_for
from edgecell_runtime.errors import EngineError, ImageError, ManifestError
from edgecell_runtime.images import ImageSource
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import TensorSpec, dequantize, encode_pixels
from edgecell_runtime.threads import allowed_cpus


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
    """Classifies images with one artifact.

    Calls from several threads are taken one after another.

    Attributes:
        manifest: What the artifact says of itself.
        engine: Name of the engine that runs it.
        threads: Threads that the engine was given.
    """

    def __init__(
        self, session: Session, manifest: Manifest, *, engine: str = "custom", threads: int = 1
    ) -> None:
        _check_signature(session, manifest)
        self.manifest = manifest
        self.engine = engine
        self.threads = threads
        self._session = session
        self._input, self._output = session.signature.inputs[0], manifest.signature.outputs[0]
        self._encoding = manifest.signature.inputs[0]
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str | None = None,
        threads: int | None = None,
    ) -> Self:
        """Opens an artifact with the engine for its format.

        Args:
            path: A ``.tflite`` or ``.onnx`` file that `edgecell export` wrote.
            engine: Name of an engine; None takes the first for the format.
            threads: Threads for the engine; None takes the CPUs that this process may use.

        Raises:
            ArtifactError: The file is missing, damaged or not an artifact.
            EngineError: No engine runs it, or the engine refuses it.
            MissingPartError: The engine's library is not installed.
        """
        return cls.of_artifact(read_artifact(Path(path)), engine=engine, threads=threads)

    @classmethod
    def of_artifact(
        cls, artifact: Artifact, *, engine: str | None = None, threads: int | None = None
    ) -> Self:
        """Opens an artifact that was read already; errors as in ``open``."""
        if threads is not None and threads < 1:
            raise EngineError(f"An engine needs at least one thread, not {threads}.")
        count = threads or allowed_cpus()
        chosen = engine_for(artifact.format, engine)
        session = chosen.open(artifact.data, count)
        try:
            return cls(session, artifact.manifest, engine=chosen.name, threads=count)
        except BaseException:
            session.close()
            raise

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of ``probabilities``."""
        return self.manifest.labels

    def predict(self, image: ImageSource) -> Prediction:
        """Classifies one image.

        Args:
            image: A path, the bytes of an image file, a Pillow image, or a uint8 array of shape
                (height, width, 3), RGB, 0-255, of any size.

        Raises:
            ImageError: The image cannot be read, or is refused.
            EngineError: The engine failed, or the classifier is closed.
        """
        pixels = self.manifest.preprocessing.apply(image)
        return self.interpret(self.probabilities(pixels[None])[0])

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Classifies pixels that are preprocessed already.

        Args:
            pixels: uint8 (n, height, width, channels) of the manifest's preprocessing, 0-255.

        Returns:
            float64 (n, labels), rows summing to 1.

        Raises:
            ImageError: The array is of another dtype or shape.
            EngineError: The engine failed, or the classifier is closed.
        """
        expected = self.manifest.preprocessing.shape
        if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
            raise ImageError(
                f"The pixels are {pixels.dtype} of shape {pixels.shape}; expected uint8 of shape "
                f"(n, {', '.join(str(size) for size in expected)})."
            )
        return self.manifest.head.probabilities(
            self.logits(pixels), self.labels, self.manifest.temperature
        )

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The graph's outputs as real numbers, float64 (n, outputs); see ``probabilities``.

        Where the graph takes batches of a fixed size, the last one is filled up with copies of its
        last image.
        """
        encoded = encode_pixels(pixels, self._encoding)
        if not len(encoded):
            return np.empty((0, self.manifest.head.output_count(self.labels)))
        count = len(encoded)
        batch = self._input.shape[0] or count
        encoded = np.concatenate([encoded, np.repeat(encoded[-1:], -count % batch, axis=0)])
        with self._lock:
            rows = [
                self._session.run((encoded[start : start + batch],))[0]
                for start in range(0, len(encoded), batch)
            ]
        outputs = np.concatenate(rows)[:count]
        params = self._output.quantization
        real = outputs.astype(np.float64) if params is None else dequantize(outputs, params)
        if not np.isfinite(real).all():
            raise EngineError(
                "The model answered with values that are not numbers; it is damaged at its source."
            )
        return real

    def interpret(self, probabilities: NDArray[np.float64]) -> Prediction:
        """Turns one row of ``probabilities`` into a prediction."""
        by_label = dict(zip(self.labels, map(float, probabilities), strict=True))
        label = self.labels[int(np.argmax(probabilities))]
        positive = self.manifest.positive_label
        decision = None if positive is None else by_label[positive] >= self.manifest.threshold
        return Prediction(label, by_label[label], by_label, decision)

    def close(self) -> None:
        """Frees the model; a second call does nothing."""
        with self._lock:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check_signature(session: Session, manifest: Manifest) -> None:
    """Holds what the engine found in the graph against what the manifest says.

    Raises:
        ManifestError: They differ, or they do not fit the preprocessing and the head.
    """
    found, written = session.signature, manifest.signature
    pairs = [("input", found.inputs, written.inputs), ("output", found.outputs, written.outputs)]
    for kind, engine_specs, manifest_specs in pairs:
        if len(engine_specs) != 1 or len(manifest_specs) != 1:
            raise ManifestError(
                f"The graph has {len(engine_specs)} {kind}s and its manifest names "
                f"{len(manifest_specs)}; a classifier has one."
            )
        if not _same(engine_specs[0], manifest_specs[0]):
            raise ManifestError(
                f"The graph's {kind} is {engine_specs[0]}, its manifest says {manifest_specs[0]}."
            )
    if written.inputs[0].dtype == "int8" and written.inputs[0].quantization is None:
        raise ManifestError("The graph's input is int8, and its manifest gives it no scale.")
    if written.inputs[0].shape[1:] != manifest.preprocessing.shape:
        raise ManifestError(
            f"The graph takes {written.inputs[0].shape}, its preprocessing gives "
            f"{manifest.preprocessing.shape}."
        )
    outputs = manifest.head.output_count(manifest.labels)
    if written.outputs[0].shape[1:] != (outputs,):
        raise ManifestError(
            f"The graph gives {written.outputs[0].shape}; head and labels need {outputs} outputs."
        )


def _same(found: TensorSpec, written: TensorSpec) -> bool:
    """Equal as far as the engine knows: ONNX Runtime knows no quantisation of a graph's ends."""
    same = (found.dtype, found.shape) == (written.dtype, written.shape)
    return same and found.quantization in (None, written.quantization)
