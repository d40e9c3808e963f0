"""Does ``edgecell bench`` measure what there is? A fake engine spins for known times.

python benchmarks/bench_method.py [--seconds 3] [--output FILE]

The engine counts its own time, and the loop has to find the same median within 2 %. What the
runtime's classifier adds around an engine is a model's time too, and is shown beside it. An empty
query shows what the loop itself adds: less than half a microsecond.
"""

import argparse
import sys
import time
from array import array
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell import console
from edgecell.console import Table
from edgecell_runtime.bench.loop import Limits, Subject, time_block
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Manifest, Source
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.signature import Signature, TensorSpec

SPINS_US: Final = (50, 100, 500, 1_000, 5_000, 20_000, 50_000)
MOST_OFF: Final = 0.02
MOST_ADDED_NS: Final = 500
_EMPTY_QUERIES: Final = 200_000
_SIGNATURE: Final = Signature(
    (TensorSpec("pixels", "uint8", (None, 64, 64, 3), "NHWC"),),
    (TensorSpec("logits", "float32", (None, 2), "NC"),),
)
_MANIFEST: Final = Manifest(
    format="onnx",
    recipe="float32",
    labels=("Parasitized", "Uninfected"),
    signature=_SIGNATURE,
    preprocessing=PreprocessSpec(64, 64),
    head=Head("softmax"),
    source=Source(weights_sha256="0" * 64),
)


class SpinningEngine:
    """Takes so long for an answer, and notes how long it took.

    Args:
        microseconds: At least.
    """

    def __init__(self, microseconds: int) -> None:
        self._nanoseconds = microseconds * 1000
        self._logits = np.zeros((1, 2), np.float32)
        self.own = array("q")

    def answer(self, _pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Spins."""
        clock = time.perf_counter_ns
        began = clock()
        ends = began + self._nanoseconds
        while (now := clock()) < ends:
            pass
        self.own.append(now - began)
        return self._logits


def main() -> int:
    arguments = _arguments()
    added = added_ns()
    rows = [_row(spin, arguments.seconds) for spin in SPINS_US]
    table = Table(
        f"The measuring loop and a spinning engine; the loop adds {added:.0f} ns to a query",
        ("asked, us", "queries", "engine's own, us", "measured, us", "off", "with classifier, us"),
        [
            (
                f"{spin:,}",
                f"{count:,}",
                f"{own:,.2f}",
                f"{found:,.2f}",
                f"{off:.3%}",
                f"{full:,.2f}",
            )
            for spin, count, own, found, off, full in rows
        ],
    )
    console.present(
        {"added_ns": added, "rows": [list(row) for row in rows]},
        [table],
        as_json=False,
        output=arguments.output,
    )
    good = added < MOST_ADDED_NS and all(off < MOST_OFF for *_, off, _ in rows)
    console.say("All within their bounds." if good else "Beyond its bound; is the machine idle?")
    return 0 if good else 1


def added_ns() -> float:
    """What a query that does nothing takes, less what reading the clock takes; medians."""
    nothing: Subject[int, int] = Subject(int, int)
    empty = np.array(time_block(nothing, 0, Limits(60.0, _EMPTY_QUERIES)).durations)
    clock = time.perf_counter_ns
    readings = np.array([[clock(), clock()] for _ in range(_EMPTY_QUERIES)])
    return float(np.median(empty) - np.median(np.diff(readings)))


def _row(microseconds: int, seconds: float) -> tuple[int, int, float, float, float, float]:
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    limits = Limits(seconds, 1 << 30)
    engine = SpinningEngine(microseconds)
    block = time_block(Subject(lambda _query: pixels, engine.answer), 0, limits)
    own, found = (float(np.median(times)) / 1e3 for times in (engine.own, block.durations))
    session = FakeSession(_SIGNATURE, SpinningEngine(microseconds).answer)
    with Classifier(session, _MANIFEST) as classifier:
        around = time_block(Subject(lambda _query: pixels, classifier.logits), 0, limits)
    full = float(np.median(around.durations)) / 1e3
    return microseconds, len(block.durations), own, found, found / own - 1, full


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures a fake engine that spins.")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each time, twice")
    parser.add_argument("--output", type=Path, help="a file: .json, .md, .csv or .html")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
