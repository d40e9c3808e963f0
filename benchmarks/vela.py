"""Arm's Vela compiles a TFLite file for Ethos-U, the NPUs beside Cortex-M: what it says of it."""

import csv
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from peers.tool import executable

from edgecell_runtime.errors import EngineError, MissingPartError

Accelerator = Literal["ethos-u55-64", "ethos-u55-128", "ethos-u55-256"]
Goal = Literal["Performance", "Size"]

_OPERATORS = re.compile(r"(CPU|NPU) operators = (\d+)")
_KIB: Final = 1024


@dataclass(frozen=True)
class Compiled:
    """What Vela foresees; it is a model of the hardware and no measurement.

    Attributes:
        accelerator: The NPU; the number is of multiplications a cycle.
        goal: What it compiled for: fewest cycles or least memory.
        npu_operators: That run on the NPU.
        cpu_operators: That are left to the processor.
        sram_bytes: Memory for tensors and weights on their way.
        flash_bytes: Encoded weights and commands.
        cycles: Of the NPU, for one image.
        milliseconds: The same, at the clock of Vela's system configuration.
    """

    accelerator: Accelerator
    goal: Goal
    npu_operators: int
    cpu_operators: int
    sram_bytes: int
    flash_bytes: int
    cycles: int
    milliseconds: float


def require() -> None:
    """Refuses to begin without Vela.

    Raises:
        MissingPartError: It is not installed.
    """
    _program()


def compile_for(model: Path, accelerator: Accelerator, goal: Goal) -> Compiled:
    """Compiles a file, with Vela's default system (500 MHz, SRAM shared, weights in flash).

    Raises:
        EngineError: Vela refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--accelerator-config", accelerator, "--optimise", goal]
        said = subprocess.run(
            [_program(), str(model), "--output-dir", folder, *options],
            capture_output=True,
            text=True,
            check=False,
        )
        summaries = list(Path(folder).glob("*_summary_*.csv"))
        if said.returncode or len(summaries) != 1:
            lines = (said.stderr or said.stdout).strip().splitlines() or ["no word"]
            raise EngineError(f"Vela did not compile {model.name}: {lines[-1]}")
        with summaries[0].open(newline="") as file:
            (row,) = csv.DictReader(file)
    count = {name: int(number) for name, number in _OPERATORS.findall(said.stdout)}
    return Compiled(
        accelerator=accelerator,
        goal=goal,
        npu_operators=count["NPU"],
        cpu_operators=count["CPU"],
        sram_bytes=round(float(row["sram_memory_used"]) * _KIB),
        flash_bytes=round(float(row["off_chip_flash_memory_used"]) * _KIB),
        cycles=round(float(row["cycles_total"])),
        milliseconds=float(row["inference_time"]) * 1000,
    )


def _program() -> str:
    found = executable("vela")
    if found is None:
        raise MissingPartError(
            "Vela is not installed: pip install --group microcontroller -c constraints.txt"
        )
    return found
