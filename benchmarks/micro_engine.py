"""TFLite Micro on this machine: its answers, and the smallest arena that it gives them in."""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import tflite_micro_child
from numpy.typing import NDArray

from edgecell_runtime.errors import EngineError, MissingPartError

LARGEST_ARENA: Final = 16 << 20
"""Bytes; a microcontroller has less."""

STEP: Final = 16
"""TFLite Micro aligns to as many bytes."""

_ALLOCATED = re.compile(r"Arena allocation (\w+) (\d+) bytes")


@dataclass(frozen=True)
class Arena:
    """The memory that TFLite Micro works in, in bytes, on a machine of 64 bits.

    Attributes:
        smallest: The smallest in which it answers, to the next 16 bytes.
        activations: Of it, for tensors and scratch, which take each other's place.
        persistent: The rest: structures, tables of the kernels.
    """

    smallest: int
    activations: int
    persistent: int


def require() -> None:
    """Refuses to begin without TFLite Micro.

    Raises:
        MissingPartError: It is not installed.
    """
    if find_spec("tflite_micro") is None:
        raise MissingPartError(
            "TFLite Micro is not installed: pip install --group microcontroller -c constraints.txt"
        )


def answer(model: Path, pixels: NDArray[np.uint8], arena: int) -> tuple[NDArray[np.uint8], str]:
    """TFLite Micro's outputs for some images, one at a time.

    Args:
        model: The file.
        pixels: uint8 (n, height, width, channels), as the graph takes them.
        arena: Bytes to work in.

    Returns:
        The outputs, (n, outputs), as the graph gives them, and what it said of its memory.

    Raises:
        EngineError: It refuses the file, or the arena is too small.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "pixels.npy"), Path(folder, "outputs.npy")
        np.save(inputs, pixels)
        child = [sys.executable, tflite_micro_child.__file__]
        said = subprocess.run(
            [*child, str(model), str(inputs), str(outputs), str(arena)],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode:
            lines = said.stderr.strip().splitlines() or ["no word"]
            raise EngineError(
                f"TFLite Micro did not run {model.name} in {arena:,} bytes "
                f"(status {said.returncode}): {lines[-1]}"
            )
        return np.load(outputs), said.stderr


def smallest_arena(model: Path, pixels: NDArray[np.uint8]) -> Arena:
    """Finds the smallest arena by bisection, with a process for each try.

    Raises:
        EngineError: The file does not run in any.
    """
    one = pixels[:1]
    wanted, said = answer(model, one, LARGEST_ARENA)
    parts = {name: int(size) for name, size in _ALLOCATED.findall(said)}
    low, high = 0, LARGEST_ARENA // STEP
    while high - low > 1:
        middle = (low + high) // 2
        try:
            found, _ = answer(model, one, middle * STEP)
        except EngineError:
            low = middle
        else:
            np.testing.assert_array_equal(found, wanted)
            high = middle
    return Arena(high * STEP, parts["head"], parts["tail"])
