"""From image files to labels: each way in a process of its own, all by turns."""

import contextlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from runtime_rows import Goal, Row, Words, by_turns, compare

from edgecell_runtime.errors import DataError
from edgecell_runtime.threads import allowed_cpus

BATCHES: Final = (1, 4, 16, 64)
"""Among them is the one at which the engine takes the least time an image."""

BOUND_GOAL: Final = Goal("ratio", "at least", 0.93)
COURSE_GOAL: Final = Goal("ratio", "at least", 2.0)
BEST: Final = "predict_many_pool"
"""The way that the goals are for."""

_WORDS: Final = {
    "predict_many_pool": "predict_many, sessions=CPUs, threads=1",
    "predict_many": "predict_many, as opened",
    "predict": "predict in a loop",
    "bare": "bare loop, one thread",
}
_REST_S = 0.1  # ONNX Runtime's threads wait for work in a loop for some 35 ms


@dataclass(frozen=True)
class Images:
    """What is classified.

    Attributes:
        name: Of the set.
        paths: Files.
    """

    name: str
    paths: tuple[str, ...]


class Way:
    """A process, or several at once, that go over the files when they are told."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]], line: str = "") -> None:
        self._processes = processes
        self._line = line

    def labels(self) -> str:
        """One pass; a digit for each file.

        Raises:
            DataError: A process ended.
        """
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{self._line}\n")
            process.stdin.flush()
        return "".join(map(_answer, self._processes))

    def seconds(self) -> float:
        """What one pass takes, for each file that it answered."""
        time.sleep(_REST_S)
        began = time.perf_counter()
        labels = self.labels()
        return (time.perf_counter() - began) / len(labels)


def unpack(archive: Path, folder: Path, count: int, generator: np.random.Generator) -> Images:
    """Unpacks so many PNG files of a zip, drawn at random; all where it has no more.

    Raises:
        DataError: There is no such zip, or it has no PNG file.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            names = sorted(name for name in zipped.namelist() if name.lower().endswith(".png"))
            if not names:
                raise DataError(f"{archive} has no PNG file.")
            drawn = generator.permutation(len(names))[:count]
            paths = tuple(zipped.extract(names[number], folder) for number in sorted(drawn))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.") from error
    return Images(archive.stem, paths)


def files(
    images: Images, models: Sequence[Path], keras: Path, rounds: int, generator: np.random.Generator
) -> list[Row]:
    """Every way over the same files, by turns.

    Args:
        images: The files.
        models: Artifacts.
        keras: The model that they were exported from, for the course's script.
        rounds: Passes of each way.
        generator: Of the orders.

    Raises:
        DataError: A process failed, or two ways gave other labels with the same engine.
    """
    with contextlib.ExitStack() as stack:
        ways = {("", "decoding"): _open(stack, "decoding", models[0], images.paths)}
        ways[("", "course")] = _open(stack, "course", keras, images.paths)
        for model in models:
            for name in ("predict_many_pool", "predict_many", "predict", "bare"):
                ways[(model.name, name)] = _open(stack, name, model, images.paths)
            ways[(model.name, "processes")] = _bare_processes(stack, model, images.paths)
            alone = _start(stack, "engine", model, images.paths)
            for batch in BATCHES:
                ways[(model.name, f"engine {batch}")] = Way([alone], str(batch))
        _check_labels(ways, models)
        measures: list[Callable[[], float]] = [way.seconds for way in ways.values()]
        found = by_turns(measures, rounds, generator)
    seconds = dict(zip(ways, found, strict=True))
    return [row for model in models for row in _rows(images, model, seconds)]


def _rows(
    images: Images, model: Path, seconds: dict[tuple[str, str], NDArray[np.float64]]
) -> list[Row]:
    subject = f"{len(images.paths):,} files of {images.name}, {model.name}"
    alone = {batch: seconds[(model.name, f"engine {batch}")] for batch in BATCHES}
    best = min(alone, key=lambda batch: float(np.median(alone[batch])))
    cpus = allowed_cpus()
    against = {
        f"bound: {cpus} CPUs / (decode + engine at batch {best})": cpus
        / (seconds[("", "decoding")] + alone[best]),
        "course's script": 1 / seconds[("", "course")],
        f"bare loop in each of {cpus} processes": 1 / seconds[(model.name, "processes")],
    }
    goals = (BOUND_GOAL, COURSE_GOAL, None)
    rows = []
    for way, words in _WORDS.items():
        rate = 1 / seconds[(model.name, way)]
        rows += [
            compare(
                Words("files to labels", subject, words, name, "images/s"),
                rate,
                other,
                goal if way == BEST else None,
            )
            for (name, other), goal in zip(against.items(), goals, strict=True)
            if way == BEST or goal is BOUND_GOAL
        ]
    parts = Words("one image, one thread", subject, "decode and resize", "engine", "us")
    rows.append(compare(parts, seconds[("", "decoding")] * 1e6, alone[best] * 1e6))
    return rows


def _check_labels(ways: dict[tuple[str, str], Way], models: Sequence[Path]) -> None:
    """One pass of each, not counted; the same engine has to give the same labels."""
    labels = {key: way.labels() for key, way in ways.items()}
    for model in models:
        for name in ("predict_many_pool", "predict_many", "predict", "processes"):
            if labels[(model.name, name)] != labels[(model.name, "bare")]:
                raise DataError(f"{name} gives other labels than the bare loop of {model.name}.")


def _open(stack: contextlib.ExitStack, way: str, model: Path, paths: Sequence[str]) -> Way:
    return Way([_start(stack, way, model, paths)])


def _bare_processes(stack: contextlib.ExitStack, model: Path, paths: Sequence[str]) -> Way:
    """What the CPUs give when nothing is shared: a bare loop in a process each."""
    parts = [list(part) for part in np.array_split(np.array(paths), allowed_cpus())]
    return Way([_start(stack, "bare", model, part) for part in parts])


def _start(
    stack: contextlib.ExitStack, way: str, model: Path, paths: Sequence[str]
) -> subprocess.Popen[str]:
    """Starts a process and waits until it is ready; it ends with the stack."""
    names = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "files.txt"
    names.write_text("\n".join(paths), encoding="utf-8")
    script = Path(__file__).with_name("runtime_pass.py")
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, str(script), way, str(model), str(names)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    )
    stack.callback(process.kill)
    if _answer(process) != "ready":
        raise DataError(f"{way} did not get ready with {model}.")
    return process


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise DataError(f"A process ended too early: {process.args!r}; run it alone.")
    return line
