"""Starts of processes by turns: to the first label, and to the end of the imports."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from runtime_rows import Goal, Row, Words, compare

from edgecell_runtime.errors import DataError

SCRIPTS: Final = Path(__file__).parent / "bare_scripts"
TIME_GOAL: Final = Goal("ratio", "at most", 1.1)
MEMORY_GOAL: Final = Goal("difference", "at most", 6.0)
IMPORT_GOAL: Final = Goal("difference", "at most", 40.0)
SMALL_FILE_BYTES: Final = 5_000_000
"""The goals are for files up to this size; larger ones take longer to hash, and are shown."""


@dataclass(frozen=True)
class Start:
    """One process.

    Attributes:
        seconds: From before its start to its first line.
        lines: All that it printed.
    """

    seconds: float
    lines: tuple[str, ...]


def start(script: str, *arguments: str) -> Start:
    """Runs a script of ``bare_scripts`` to its end.

    Raises:
        DataError: It failed.
    """
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    # On a device modules are compiled when they are installed, and not at every start.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - began
        rest = process.stdout.read()
    if process.returncode or not first.strip():
        raise DataError(
            f"{script} ended with status {process.returncode} and printed {first + rest!r}; "
            f"run it alone: {' '.join(command)}"
        )
    return Start(seconds, tuple((first + rest).splitlines()))


def first_labels(
    models: list[Path], image: Path, rounds: int, generator: np.random.Generator
) -> list[Row]:
    """From the start of a process to the first label, and the most memory it held.

    Raises:
        DataError: A script failed, or two did not print the same label.
    """
    runs = [
        (script, str(model), str(image))
        for model in models
        for script in ("first_label_edgecell.py", f"first_label_{model.suffix[1:]}.py")
    ]
    starts = _by_turns(runs, rounds, generator)
    labels = {run: {one.lines[0] for one in found} for run, found in zip(runs, starts, strict=True)}
    rows = []
    for number, model in enumerate(models):
        ours, bare = starts[2 * number], starts[2 * number + 1]
        if labels[runs[2 * number]] != labels[runs[2 * number + 1]]:
            raise DataError(f"On {image.name} the two scripts for {model.name} print other labels.")
        small = model.stat().st_size <= SMALL_FILE_BYTES
        words = ("Classifier.open, predict", "the bare script")
        rows += [
            compare(
                Words("start to first label", model.name, *words, "ms"),
                _milliseconds(ours),
                _milliseconds(bare),
                TIME_GOAL if small else None,
            ),
            compare(
                Words("peak resident memory", model.name, *words, "MB"),
                _peak_megabytes(ours),
                _peak_megabytes(bare),
                MEMORY_GOAL if small else None,
            ),
        ]
    return rows


def imports(rounds: int, generator: np.random.Generator) -> list[Row]:
    """From the start of a process to the end of its imports."""
    runs = [("import_edgecell_runtime.py",), ("import_numpy_pillow.py",)]
    ours, bare = _by_turns(runs, rounds, generator)
    words = Words(
        "start to imported", "-", "import edgecell_runtime", "import numpy, PIL.Image", "ms"
    )
    return [compare(words, _milliseconds(ours), _milliseconds(bare), IMPORT_GOAL)]


def _by_turns(
    runs: list[tuple[str, ...]], rounds: int, generator: np.random.Generator
) -> list[list[Start]]:
    """Each run once in each round, in an order drawn anew; one before is not counted."""
    found: list[list[Start]] = [[] for _ in runs]
    for run in runs:  # compiles the modules, and brings files into the page cache
        start(*run)
    for _ in range(rounds):
        for number in generator.permutation(len(runs)):
            found[number].append(start(*runs[number]))
    return found


def _milliseconds(starts: list[Start]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([one.seconds * 1e3 for one in starts])


def _peak_megabytes(starts: list[Start]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([int(one.lines[-1]) * 1024 / 1e6 for one in starts])
