"""Everything that is compared, behind one face: Keras, edgecell's artifacts, stock conversions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import stock
from numpy.typing import NDArray

from edgecell_export.savedmodel_session import ENGINE_NAME, SavedModelSession
from edgecell_export.source import SourceModel, source_probabilities
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.engines import Engine, Session, engine_for
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Format
from edgecell_runtime.signature import dequantize, encode_pixels, quantize

Pixels = NDArray[np.uint8]
"""uint8 (n, height, width, channels), preprocessed, 0-255."""


LATENCY_IMAGES: Final = 64
"""Latency is measured on so many images, or batches, by turns."""


class Answering(Protocol):
    """What turns a graph's outputs into probabilities: a source model, or a run's record."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the classes."""

    @property
    def head(self) -> Head:
        """How outputs become probabilities."""


@dataclass(frozen=True)
class Contender:
    """A model that answers.

    Attributes:
        file: Its name.
        maker: Who made the file.
        engine: What runs it.
        recipe: How it stores numbers.
        size_bytes: Of the file, or of a folder's files together.
        encode: Puts a batch of pixels into the form that ``run`` takes.
        run: The graph alone, on what ``encode`` gave; this is what is timed.
        probabilities: Pixels to float64 (n, labels), one image at a time (except for Keras): a
            kernel that sets its ranges while running sets them for a whole batch.
    """

    file: str
    maker: Literal["Keras", "edgecell", "stock"]
    engine: str
    recipe: str
    size_bytes: int
    encode: Callable[[Pixels], NDArray[np.generic]]
    run: Callable[[NDArray[np.generic]], object]
    probabilities: Callable[[Pixels], NDArray[np.float64]]


def keras_contender(source: SourceModel, file: Path) -> Contender:
    """The trained model itself."""
    return Contender(
        file=file.name,
        maker="Keras",
        engine=ENGINE_NAME,
        recipe="float32",
        size_bytes=file.stat().st_size,
        encode=lambda pixels: pixels.astype(np.float32),
        run=source.model.predict_on_batch,
        probabilities=lambda pixels: source_probabilities(
            source.model, pixels, source.head, source.labels, source.temperature
        ),
    )


def edgecell_contender(path: Path, threads: int, chosen: Engine | None = None) -> Contender:
    """An artifact, SavedModel included.

    Args:
        path: Of it.
        threads: For the engine.
        chosen: The engine; None takes the first for the format.

    Raises:
        ArtifactError: It is damaged or none.
        EngineError: No engine runs it.
    """
    artifact = read_artifact(path)
    engine, session = _open_artifact(artifact, threads, chosen)
    classifier = Classifier(session, artifact.manifest, engine=engine, threads=threads)
    image = artifact.manifest.signature.inputs[0]

    def probabilities(pixels: Pixels) -> NDArray[np.float64]:
        return np.concatenate([classifier.probabilities(one) for one in _singly(pixels)])

    return Contender(
        file=path.name,
        maker="edgecell",
        engine=engine,
        recipe=artifact.manifest.recipe,
        size_bytes=artifact.size_bytes,
        encode=lambda pixels: encode_pixels(pixels, image),
        run=lambda encoded: session.run((encoded,)),
        probabilities=probabilities,
    )


def stock_contender(path: Path, source: SourceModel, threads: int) -> Contender:
    """A file of the plain tools, fed as its own scale and zero point ask for.

    Raises:
        EngineError: The engine refuses it.
    """
    form: Format = "tflite" if path.suffix == ".tflite" else "onnx"
    return plain_contender(path, source, stock.RECIPES[path.name], threads, engine_for(form))


def plain_contender(
    path: Path, source: Answering, recipe: str, threads: int, engine: Engine
) -> Contender:
    """Any file without a manifest, fed as its own scale and zero point ask for.

    Args:
        path: Of it.
        source: The model that it was made from, or its run's record.
        recipe: How the file stores numbers.
        threads: For the engine.
        engine: What runs it.

    Raises:
        EngineError: The engine refuses it.
    """
    model = StockModel(engine.open(path.read_bytes(), threads))

    def probabilities(pixels: Pixels) -> NDArray[np.float64]:
        found = source_probabilities(model, pixels, source.head, source.labels, source.temperature)
        # 8-bit sigmoids may both be 0; then the file says nothing at all.
        found[found.sum(axis=1) == 0] = 1 / len(source.labels)
        return found

    return Contender(
        file=path.name,
        maker="stock",
        engine=engine.name,
        recipe=recipe,
        size_bytes=path.stat().st_size,
        encode=model.encode,
        run=lambda encoded: model.session.run((encoded,)),
        probabilities=probabilities,
    )


class StockModel:
    """A file without a manifest: floats of 0 to 255 in, activations out, either quantised or not.

    Attributes:
        session: What runs it.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._input, self._output = session.signature.inputs[0], session.signature.outputs[0]

    def encode(self, pixels: Pixels) -> NDArray[np.generic]:
        """Pixels as the input takes them; its real values are 0 to 255."""
        params = self._input.quantization
        if params is None:
            return pixels.astype(self._input.dtype)
        return quantize(pixels.astype(np.float64), params, self._input.dtype)

    def predict(self, pixels: Pixels, **_: Any) -> NDArray[np.float64]:
        """Answers like a Keras model's ``predict``, float64 (n, outputs)."""
        rows = [self.session.run((self.encode(one),))[0] for one in _singly(pixels)]
        outputs, params = np.concatenate(rows), self._output.quantization
        return outputs.astype(np.float64) if params is None else dequantize(outputs, params)


class Query:
    """Runs a contender on batches of the first images; they are encoded beforehand.

    Args:
        contender: What to run.
        pixels: uint8 (n, height, width, channels), n at least a batch.
        batch: Images a query.
    """

    def __init__(self, contender: Contender, pixels: Pixels, batch: int = 1) -> None:
        self._run = contender.run
        count = min(len(pixels), LATENCY_IMAGES * batch) // batch
        self._inputs = [
            contender.encode(pixels[start : start + batch])
            for start in range(0, count * batch, batch)
        ]

    def __call__(self, turn: int) -> object:
        """Runs the batch whose turn it is."""
        return self._run(self._inputs[turn % len(self._inputs)])


def _open_artifact(artifact: Artifact, threads: int, chosen: Engine | None) -> tuple[str, Session]:
    if savedmodel.recognises(artifact.path):
        return ENGINE_NAME, SavedModelSession(artifact.path, threads)
    engine = chosen or engine_for(artifact.format)
    return engine.name, engine.open(artifact.data, threads)


def _singly(pixels: Pixels) -> list[Pixels]:
    return [image[np.newaxis] for image in pixels]
