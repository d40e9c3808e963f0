"""What does the runtime cost beside the bare script that a user would write?

``python benchmarks/runtime.py RUN`` measures starts, imports, calls, files and memory. See
``benchmarks/README.md``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import runtime_calls
import runtime_files
import runtime_memory
import runtime_rows
import runtime_starts
import scoring

from edgecell import console
from edgecell_runtime.errors import DataError, EdgecellError
from edgecell_runtime.threads import allowed_cpus
from edgecell_train.runs import find_run

SECTIONS: Final = ("starts", "imports", "calls", "files", "memory")
ARCHIVES: Final = ("nlm-cells-original-sizes.zip", "nlm-cells-50px.zip")
_NOTES: Final = (
    "All that a row compares is measured by turns, in an order drawn anew each round. Medians; "
    "the ratio is of medians, the difference the median over pairs, both with 95 % bootstrap "
    "intervals over pairs of this run. A goal is met (yes) or missed (no) where the whole "
    "interval is, else open. Starts: from before the process to its first line; memory is the "
    "VmHWM that it reads itself. Calls: medians of blocks of 20 in one process, one thread each, "
    "sessions opened anew for every five blocks. Files: each way is a process of its own, and all"
    " others wait; the bound is made of the same round's single-threaded times, each with the "
    "machine to itself, and CPUs that share a core cannot reach it: what a bare loop in a process"
    " for each CPU gives stands beside it. The course's script has imported TensorFlow and loaded"
    " the model before. Memory: the slope is Theil-Sen's over the last three quarters of the "
    "readings; flat is below a byte a call with its whole interval."
)


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    run: str
    image: str
    rows: tuple[runtime_rows.Row, ...]
    memory: tuple[runtime_memory.Endurance, ...]
    notes: str = _NOTES


def main() -> None:
    """Measures, prints and writes."""
    options = _options()
    before = scoring.circumstances(1, allowed_cpus())
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(options, before, Path(folder))
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


def measure(options: argparse.Namespace, before: scoring.Circumstances, folder: Path) -> Result:
    """All sections that were asked for.

    Raises:
        EdgecellError: The run, the images or a script cannot be used.
    """
    run = find_run(options.run)
    exports = run.folder / "exports"
    int8 = [_artifact(exports, "static_int8", form) for form in options.formats]
    whole = [_artifact(exports, "float32", form) for form in options.formats]
    generator = np.random.default_rng(options.seed)
    original, small = (
        runtime_files.unpack(options.data / name, folder, count, generator)
        for name, count in zip(ARCHIVES, options.files, strict=True)
    )
    image, rows, rounds = Path(original.paths[0]), [], options.rounds
    if "starts" in options.only:
        console.say("Starts ...")
        rows += runtime_starts.first_labels([*int8, *whole], image, rounds, generator)
    if "imports" in options.only:
        console.say("Imports ...")
        rows += runtime_starts.imports(rounds, generator)
    if "calls" in options.only:
        console.say("Calls ...")
        for model in int8:
            rows += runtime_calls.calls(model, rounds, generator)
    if "files" in options.only:
        for images in (original, small):
            console.say(f"Files of {images.name} ...")
            rows += runtime_files.files(images, int8, run.model_file, rounds, generator)
    memory: tuple[runtime_memory.Endurance, ...] = ()
    if "memory" in options.only:
        console.say("Memory ...")
        calls = (options.calls, max(options.calls // 5, 1))
        plan = runtime_memory.EndurancePlan(int8, small.paths[:200], calls)
        memory = runtime_memory.endure(plan)
    return Result(before, run.folder.name, image.name, tuple(rows), memory)


def as_markdown(result: Result) -> str:
    """The tables and the lines below them."""
    tables = []
    if result.rows:
        tables.append(runtime_rows.table(f"{result.run}: beside the bare script", result.rows))
    if result.memory:
        tables.append(runtime_memory.table(result.memory))
    lines = [f"First label: of {result.image}.", result.notes, result.circumstances.sentence()]
    return "\n".join(tables) + "".join(f"\n{line}\n" for line in lines)


def _artifact(exports: Path, recipe: str, form: str) -> Path:
    found: Sequence[Path] = sorted(exports.glob(f"*-{recipe}.{form}"))
    if len(found) != 1:
        raise DataError(
            f"{exports} has {len(found)} files *-{recipe}.{form}; expected one. "
            "Export the run, or name other --formats."
        )
    return found[0]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("EDGECELL_DATA")
    parser.add_argument("run", type=Path, help="a run's folder, with its exports")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(folder) if folder else None,
        required=not folder,
        help=f"the folder of {' and '.join(ARCHIVES)}; EDGECELL_DATA",
    )
    scoring.add_output(parser)
    parser.add_argument("--rounds", type=_rounds, default=20, help="pairs of each; 20")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--formats", nargs="+", default=["tflite", "onnx"])
    parser.add_argument(
        "--files", type=_files, nargs=2, default=(1397, 2000), help="cells of each archive"
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="of predict, for the memory")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _rounds(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError("an interval needs at least 2 rounds")
    return int(text)


def _files(text: str) -> int:
    if int(text) < max(runtime_files.BATCHES):
        raise argparse.ArgumentTypeError(f"a batch has up to {max(runtime_files.BATCHES)} files")
    return int(text)


if __name__ == "__main__":
    main()
