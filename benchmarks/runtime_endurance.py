"""Many calls in this process alone, with its memory now and then; ``runtime.py`` starts it.

``python runtime_endurance.py predict|predict_many MODEL CALLS READINGS [LIST]`` prints a line for
each reading: the calls so far, and ``VmRSS`` in bytes. LIST names the files for ``predict_many``,
which takes them again and again.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgecell_runtime.classifier import Classifier

WARM_UP = 1_000


def predictions(classifier: Classifier, files: list[str]) -> Iterator[object]:
    """Without end: of arrays, or of files where there are some."""
    if files:
        yield from classifier.predict_many(itertools.cycle(files))
    shape = classifier.manifest.preprocessing.shape
    arrays = list(np.random.default_rng(0).integers(0, 256, (64, *shape), dtype=np.uint8))
    for pixels in itertools.cycle(arrays):
        yield classifier.predict(pixels)


def resident_bytes() -> int:
    """What this process holds now."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


def main() -> None:
    """Takes the way, the model, the number of calls and of readings, and the files."""
    way, model, calls, readings, *rest = sys.argv[1:]
    files = Path(rest[0]).read_text(encoding="utf-8").splitlines() if rest else []
    with Classifier.open(model, threads=1) as classifier:
        answers = predictions(classifier, files if way == "predict_many" else [])
        step = max(1, int(calls) // int(readings))
        for _ in itertools.islice(answers, min(WARM_UP, step)):
            pass
        for done in range(0, int(calls) + 1, step):
            print(done, resident_bytes(), flush=True)
            for _ in itertools.islice(answers, step if done < int(calls) else 0):
                pass


if __name__ == "__main__":
    main()
