"""Processes until the first batch is there, and what one holds while it trains."""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from runtime_rows import Goal, Row, Words, compare

from edgecell_runtime.errors import DataError

SCRIPTS: Final = Path(__file__).parent / "bare_scripts"
FIRST_GOAL: Final = Goal("ratio", "at most", 0.5)
SECOND_GOAL: Final = Goal("ratio", "at most", 0.1)
MEMORY_GOAL: Final = Goal("difference", "at most", 1536 * (1 << 20) / 1e6)

_CACHE: Final = "EDGECELL_CACHE"
_TRAININGS: Final = 2


def starts(data: Path, folder: Path, rounds: int, generator: np.random.Generator) -> list[Row]:
    """From the command's start until the first batch is handed over.

    Args:
        data: A zip of class folders; the plain script gets it unpacked.
        folder: For the unpacked set and for caches.
        rounds: Runs of each.
        generator: Of the orders.

    Raises:
        DataError: The zip cannot be read, or a script failed.
    """
    unpacked = _unpack(data, folder / "set")
    plain = ["first_batch_course.py", str(unpacked)]
    ours = ["first_batch_edgecell.py", str(data), str(folder)]
    warm = folder / "warm"
    _seconds(plain, None)  # brings files into the page cache
    _seconds(ours, warm)
    found: dict[str, list[float]] = {"plain": [], "first": [], "second": []}
    for turn in range(rounds):
        runs = {
            "plain": (plain, None),
            "first": (ours, folder / f"cold-{turn}"),
            "second": (ours, warm),
        }
        for name in generator.permutation(list(runs)):
            found[name].append(_seconds(*runs[name]))
    times = {name: np.array(values) for name, values in found.items()}
    return [
        compare(
            Words("start to first batch", data.name, f"{name} run", "the plain script", "s"),
            times[name],
            times["plain"],
            goal,
        )
        for name, goal in (("first", FIRST_GOAL), ("second", SECOND_GOAL))
    ]


def memory(data: Path, preset: str, folder: Path) -> list[Row]:
    """The most memory of an epoch on the whole set, beyond that of importing Keras.

    Raises:
        DataError: A script failed.
    """
    training = ["train_one_epoch.py", str(data), preset, str(folder)]
    # The first of the trainings decodes the images, the second finds them decoded.
    ours = np.array([_megabytes(training, folder / "cache") for _ in range(_TRAININGS)])
    bare = np.array([_megabytes(["import_keras.py"], None) for _ in range(_TRAININGS)])
    words = Words("peak resident memory", data.name, "an epoch", "import keras", "MB")
    return [compare(words, ours, bare, MEMORY_GOAL)]


def _unpack(data: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(data) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{data} cannot be unpacked: {error}.") from error
    found = folder
    while len(inside := list(found.iterdir())) == 1:
        found = inside[0]
    return found


def _seconds(arguments: list[str], cache: Path | None) -> float:
    began = time.perf_counter()
    process = _start(arguments, cache)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    _end(process, arguments, line)
    return seconds


def _megabytes(arguments: list[str], cache: Path | None) -> float:
    process = _start(arguments, cache)
    assert process.stdout is not None
    line = process.stdout.readline()
    _end(process, arguments, line)
    return int(line) * 1024 / 1e6


def _start(arguments: list[str], cache: Path | None) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    if cache is not None:
        environment[_CACHE] = str(cache)
    command = [sys.executable, str(SCRIPTS / arguments[0]), *arguments[1:]]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def _end(process: subprocess.Popen[str], arguments: list[str], line: str) -> None:
    process.communicate()
    if process.returncode or not line.strip():
        raise DataError(
            f"{arguments[0]} ended with status {process.returncode}; run it alone: "
            f"{sys.executable} {SCRIPTS / arguments[0]} {' '.join(arguments[1:])}"
        )
