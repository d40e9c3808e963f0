"""Times the layers of a query with edgecell's loop, by turns in one process and one session.

``python layers_child.py ARTIFACT ENGINE PIXELS SECONDS`` prints one JSON document. ``PIXELS`` is a
``.npy`` file, uint8 (n, height, width, channels). One session, since where a session's memory lies
changes what a query takes: so the layers' differences are those of what is around the engine.
"""

import contextlib
import statistics
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.bench.loop import Limits, Subject, forget, time_block
from edgecell_runtime.bench.scenarios import ModelQueries, PixelRows, Rotation
from edgecell_runtime.bench.steadiness import warm_up
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines import ENGINES
from edgecell_runtime.engines.base import Session
from edgecell_runtime.engines.openvino import OpenVINOSession
from edgecell_runtime.signature import encode_pixels

Layer = Literal["engine", "session", "rotated", "bench"]
"""What of a query is timed; each holds the one before.

- ``engine``: what the engine itself says that it took; OpenVINO alone tells.
- ``session``: ``Session.run`` from Python, the same pixels again and again.
- ``rotated``: ``Session.run``, another image each time.
- ``bench``: ``Classifier.logits``, another image each time; the stage ``model``.
"""

LAYERS: Final[tuple[Layer, ...]] = ("engine", "session", "rotated", "bench")

_BLOCK_SECONDS: Final = 0.1
_AGAIN_SHARE: Final = 0.05
"""Of a block, before it, not counted; as ``edgecell bench`` does."""


@dataclass(frozen=True)
class LayerTimes:
    """What one layer took.

    Attributes:
        layer: Which.
        queries: That were timed.
        median_ms: The lower of the middle two where their number is even, as in ``edgecell bench``.
        mean_ms: Of all.
    """

    layer: Layer
    queries: int
    median_ms: float
    mean_ms: float


@dataclass(frozen=True)
class LayersFound:
    """All layers of one process."""

    layers: tuple[LayerTimes, ...]


def main() -> None:
    """Measures and prints."""
    path, engine, pixels, seconds = sys.argv[1:]
    artifact = read_artifact(Path(path))
    with ENGINES[engine].open(artifact.data, 1) as session:
        print(codec.dumps(measure(session, artifact, Path(pixels), float(seconds))))


def measure(session: Session, artifact: Artifact, pixels: Path, seconds: float) -> LayersFound:
    """So many seconds of each layer."""
    said: array[float] = array("d")
    images = np.load(pixels)
    rows = PixelRows(pixels, len(images), artifact.manifest.preprocessing.shape)
    classifier = Classifier(session, artifact.manifest)
    with contextlib.closing(ModelQueries(classifier, rows, Rotation(len(images), 0))) as queries:
        spec = artifact.manifest.signature.inputs[0]
        taken = [encode_pixels(image[np.newaxis], spec) for image in images]
        times = _by_turns(
            {
                "session": Subject(lambda _query: (taken[0],), session.run, _noting(session, said)),
                "rotated": Subject(lambda query: (taken[query % len(taken)],), session.run),
                "bench": queries.subject(1).without_keeping(),
            },
            seconds,
        )
    if said:
        times = {"engine": said.tolist(), **times}
    return LayersFound(tuple(_summary(layer, found) for layer, found in times.items()))


def _by_turns(subjects: dict[Layer, Subject[Any, Any]], seconds: float) -> dict[Layer, list[float]]:
    """Milliseconds of each query."""
    for subject in subjects.values():
        warm_up(subject, max(seconds, 1.0))
    times: dict[Layer, list[float]] = {layer: [] for layer in subjects}
    spent = dict.fromkeys(subjects, 0.0)
    generator = np.random.default_rng(0)
    while waiting := [layer for layer in subjects if spent[layer] < seconds]:
        for place in generator.permutation(len(waiting)).tolist():
            layer = waiting[place]
            again = Limits(_BLOCK_SECONDS * _AGAIN_SHARE, 1 << 30)
            time_block(subjects[layer].backwards(), 0, again)
            block = time_block(subjects[layer], len(times[layer]), Limits(_BLOCK_SECONDS, 1 << 30))
            times[layer] += [duration / 1e6 for duration in block.durations]
            spent[layer] += block.elapsed_ns / 1e9
    return times


def _noting(session: Session, said: "array[float]") -> Callable[[int, object], None]:
    """After a query: what the engine says that it took, where it says so."""
    if not isinstance(session, OpenVINOSession):
        return forget
    return lambda _query, _answer: said.append(session._request.latency)


def _summary(layer: Layer, times: list[float]) -> LayerTimes:
    return LayerTimes(layer, len(times), statistics.median_low(times), statistics.fmean(times))


if __name__ == "__main__":
    main()
