"""A measuring process with a fake engine, which behaves as the artifact's file name says.

``spins-50us.onnx`` takes 50 microseconds a query. ``dies`` ends the process in its tenth query,
``fails`` raises, ``hangs`` does not return, ``chatters`` prints to standard output.
"""

import os
import re
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench import worker
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError
from support import artifacts, models

TESTS = Path(__file__).parents[1]
COMMAND = (
    sys.executable,
    "-c",
    f"import runpy, sys; sys.path.insert(0, {str(TESTS)!r});"
    "runpy.run_module('support.fake_bench_worker', run_name='__main__')",
)
DEADLY_QUERY = 10


class Behaviour:
    """What the fake engine does in a query."""

    def __init__(self, name: str) -> None:
        spin = re.search(r"spins-(\d+)us", name)
        self._nanoseconds = int(spin[1]) * 1000 if spin else 0
        self._name = name
        self._queries = 0

    def answer(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        began = time.perf_counter_ns()
        self._queries += 1
        if self._queries >= DEADLY_QUERY:
            self._misbehave()
        if "chatters" in self._name:
            os.write(1, b"an engine's chatter\n")
        found = models.expected_logits(pixels.astype(np.uint8)).astype(np.float32)
        while time.perf_counter_ns() - began < self._nanoseconds:
            pass
        return found

    def _misbehave(self) -> None:
        if "dies" in self._name:
            os.write(2, b"terminate called\nthe engine is out of order\n")
            os._exit(7)
        if "fails" in self._name:
            raise EngineError("The fake engine failed.")
        if "hangs" in self._name:
            time.sleep(600)


def _open(target: Target) -> Classifier:
    session = FakeSession(artifacts.signature(), Behaviour(Path(target.artifact).name).answer)
    return Classifier(session, artifacts.tiny_manifest("onnx"), engine="fake", threads=1)


if __name__ == "__main__":
    sys.exit(worker.main(worker.Opener(lambda _target: None, _open)))
