"""A benchmark tool that someone else wrote: how it is found, started and read."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgecell_runtime.errors import EngineError
from peers.layers_child import Layer

_PATIENCE_SECONDS: Final = 120.0
"""For imports and loading, beyond ten times what is measured."""


@dataclass(frozen=True)
class Trial:
    """What a tool is to time: one thread, a batch of one.

    Attributes:
        artifact: The file.
        engine: That runs it, by edgecell's name.
        input_name: Of the graph.
        shape: Of the input, the batch of one included.
        pixels: A ``.npy`` file with one input, as the graph takes it.
        seconds: How long.
        queries: About as many as fit into it.
        folder: For what the tool writes; its own in each trial.
    """

    artifact: Path
    engine: str
    input_name: str
    shape: tuple[int, ...]
    pixels: Path
    seconds: float
    queries: int
    folder: Path


@dataclass(frozen=True)
class Call:
    """A process to be started.

    Attributes:
        command: With its arguments.
        environment: Added to this process's.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a tool said.

    Attributes:
        median_ms: None where it says a mean only.
        mean_ms: None where it says a median only.
        resolution_ms: Of the figures as printed; 0 where that is finer than matters.
    """

    median_ms: float | None
    mean_ms: float | None
    resolution_ms: float = 0.0


@dataclass(frozen=True)
class Tool:
    """A registered tool.

    Attributes:
        name: As its documentation has it.
        engines: That it times, by edgecell's names.
        layer: Which of edgecell's figures is the same thing.
        times: What it times, in its own terms.
        remarks: What differs nevertheless.
        find: The executable, or None where it is not installed.
        call: How it is started.
        read: What its standard output and folder say.
    """

    name: str
    engines: tuple[str, ...]
    layer: Layer
    times: str
    remarks: tuple[str, ...]
    find: Callable[[], str | None]
    call: Callable[[str, Trial], Call]
    read: Callable[[str, Trial], Reading]


def executable(name: str) -> str | None:
    """A program beside this Python, else on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return beside or shutil.which(name)


def run(tool: Tool, trial: Trial) -> Reading:
    """Runs a tool once, in a process of its own.

    Raises:
        EngineError: It is missing, it failed or took too long, or its output has no figure.
    """
    found = tool.find()
    if found is None:
        raise EngineError(f"{tool.name} is not installed.")
    call = tool.call(found, trial)
    try:
        said = subprocess.run(
            call.command,
            cwd=trial.folder,
            env={**os.environ, **call.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10 * trial.seconds + _PATIENCE_SECONDS,
            check=False,
        )
    except OSError as error:
        raise EngineError(f"{tool.name} could not be started: {error}.") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{tool.name} did not end within {error.timeout:,.0f} s.") from error
    text = said.stdout.decode("utf-8", errors="replace")
    if said.returncode:
        raise EngineError(f"{tool.name} ended with status {said.returncode}: {last_line(text)}")
    try:
        reading = tool.read(text, trial)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EngineError(
            f"{tool.name} ended well, but its output has no figure where it was expected: "
            f"{last_line(text)}"
        ) from error
    if 0.0 in (reading.median_ms, reading.mean_ms):
        raise EngineError(f"{tool.name} prints too few digits for so short a query.")
    return reading


def last_line(text: str) -> str:
    """The last line with something in it, without control characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable()) if lines else "it printed nothing"


def number_after(words: str, text: str) -> float:
    """The number that follows some words, a colon and spaces, or ``is``, between.

    Raises:
        LookupError: There is none.
    """
    found = re.search(rf"{re.escape(words)}(?: is|:)?\s*([0-9.]+(?:e[-+]?[0-9]+)?)", text)
    if found is None:
        raise LookupError(words)
    return float(found[1])
