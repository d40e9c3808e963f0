"""Does an int8 TFLite file run on a microcontroller, and in how much memory?

``python benchmarks/microcontroller.py ARTIFACT ... [--data ZIP]`` runs each file in TFLite Micro on
this machine and compares its answers with LiteRT's plain kernels, bit for bit; finds the smallest
arena; and has Vela compile it for Ethos-U. Both come with ``--group microcontroller``.
See ``benchmarks/README.md``.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import micro_engine
import numpy as np
import scoring
import vela
from numpy.typing import NDArray

from edgecell import console
from edgecell.tasks.graphs import operators_of
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.errors import EdgecellError, FormatError
from edgecell_runtime.labelled import open_labelled

ACCELERATORS: Final[tuple[vela.Accelerator, ...]] = ("ethos-u55-64", "ethos-u55-128")
GOALS: Final[tuple[vela.Goal, ...]] = ("Performance", "Size")


@dataclass(frozen=True)
class MicroRow:
    """One file in TFLite Micro.

    Attributes:
        artifact: Its name.
        size_bytes: Of it.
        operators: That the program has to register, by kind.
        arena: That it needs.
        cells: That both engines answered.
        different: Of them, with an output that is not equal bit for bit.
        largest_steps: By which an output differs at most.
    """

    artifact: str
    size_bytes: int
    operators: tuple[str, ...]
    arena: micro_engine.Arena
    cells: int
    different: int
    largest_steps: int


@dataclass(frozen=True)
class Compilation:
    """One file as Vela compiled it."""

    artifact: str
    compiled: vela.Compiled


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    rows: tuple[MicroRow, ...]
    compilations: tuple[Compilation, ...]


def main() -> int:
    """Measures, prints and writes."""
    options = _options()
    before = scoring.circumstances(1, tools=("tflite_micro", "ethos-u-vela"))
    try:
        micro_engine.require()
        vela.require()
        artifacts = [_tflite(path) for path in options.artifacts]
        rows = [run_micro(one, options.data, options.cells) for one in artifacts]
        compilations = [
            Compilation(one.path.name, vela.compile_for(one.path, accelerator, goal))
            for one in artifacts
            for accelerator in ACCELERATORS
            for goal in GOALS
        ]
    except EdgecellError as error:
        console.error(str(error))
        return 1
    result = Result(before, tuple(rows), tuple(compilations))
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)
    return 0


def run_micro(artifact: Artifact, data: Path, count: int) -> MicroRow:
    """Runs an artifact on cells, in TFLite Micro and in LiteRT.

    Raises:
        EngineError: TFLite Micro does not run it.
        ImageError: A cell cannot be read.
    """
    console.say(f"Running {artifact.path.name} in TFLite Micro ...")
    pixels = _cells(artifact, data, count)
    arena = micro_engine.smallest_arena(artifact.path, pixels)
    found, _ = micro_engine.answer(artifact.path, pixels, arena.smallest)
    wanted = plain_answers(artifact.path, pixels)
    steps = np.abs(found.astype(int) - wanted).max(axis=1)
    return MicroRow(
        artifact=artifact.path.name,
        size_bytes=artifact.size_bytes,
        operators=tuple({one.name: None for one in operators_of(artifact).operators}),
        arena=arena,
        cells=len(pixels),
        different=int(np.count_nonzero(steps)),
        largest_steps=int(steps.max()),
    )


def plain_answers(model: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """LiteRT's outputs without XNNPACK, whose kernels round as TFLite Micro's do.

    Args:
        model: The file.
        pixels: uint8 (n, height, width, channels), as the graph takes them.

    Returns:
        (n, outputs), as the graph gives them.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(model), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in pixels:
        interpreter.set_tensor(into["index"], image[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(out["index"])[0])
    return np.stack(answers)


def as_markdown(result: Result) -> str:
    """The tables and the line below them."""
    micro = console.Table(
        "TFLite Micro",
        (
            *("file", "bytes", "arena, bytes", "of it tensors", "of it structures"),
            *("cells", "unlike LiteRT's", "by steps", "operators to register"),
        ),
        [_micro_cells(row) for row in result.rows],
    )
    npu = console.Table(
        "Vela",
        (
            *("file", "NPU", "compiled for", "operators on the NPU", "on the processor"),
            *("SRAM, bytes", "flash, bytes", "cycles", "ms"),
        ),
        [_npu_cells(one) for one in result.compilations],
    )
    notes = (
        "The arena is the smallest in which TFLite Micro's reference kernels answer on this "
        "machine, whose pointers take 8 bytes; on a Cortex-M they take 4, and CMSIS-NN's kernels "
        "take scratch memory of their own. Answers are compared bit for bit with LiteRT's without "
        "XNNPACK. Vela's figures are its own estimates, with its default system configuration; "
        "nothing was run on an NPU."
    )
    tables = console.markdown_table(micro) + "\n" + console.markdown_table(npu)
    return f"{tables}\n{notes}\n\n{result.circumstances.sentence()}\n"


def _tflite(path: Path) -> Artifact:
    artifact = read_artifact(path)
    if artifact.format != "tflite" or artifact.manifest.recipe != "static_int8":
        raise FormatError(
            f"{path} is {artifact.format} of the recipe {artifact.manifest.recipe}; expected "
            "TFLite of static_int8: edgecell export RUN --format tflite --quantize int8."
        )
    return artifact


def _cells(artifact: Artifact, data: Path, count: int) -> NDArray[np.uint8]:
    """Cells from all over the set, preprocessed."""
    apply = artifact.manifest.preprocessing.apply
    with open_labelled(data) as images:
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
        known = list(images)
        return np.stack([apply(images.read(known[index])) for index in chosen])


def _micro_cells(row: MicroRow) -> Sequence[str]:
    arena = row.arena
    return (
        row.artifact,
        f"{row.size_bytes:,}",
        f"{arena.smallest:,}",
        f"{arena.activations:,}",
        f"{arena.persistent:,}",
        f"{row.cells:,}",
        str(row.different),
        str(row.largest_steps),
        ", ".join(row.operators),
    )


def _npu_cells(one: Compilation) -> Sequence[str]:
    compiled = one.compiled
    return (
        one.artifact,
        compiled.accelerator,
        "speed" if compiled.goal == "Performance" else "least memory",
        str(compiled.npu_operators),
        str(compiled.cpu_operators),
        f"{compiled.sram_bytes:,}",
        f"{compiled.flash_bytes:,}",
        f"{compiled.cycles:,}",
        f"{compiled.milliseconds:.3f}",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+", help="int8 .tflite files")
    default = scoring.data_file("nlm-cells-50px.zip")
    parser.add_argument(
        "--data",
        type=Path,
        default=default,
        required=default is None,
        help="labelled images; nlm-cells-50px.zip in the folder that EDGECELL_DATA names",
    )
    parser.add_argument("--cells", type=int, default=3000, help="how many are answered; 3,000")
    scoring.add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
