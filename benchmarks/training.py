"""Is training no slower than the plain script, and is it ready sooner?

``python benchmarks/training.py DATA`` measures steps, the time until the first batch is there, and
memory. See ``benchmarks/README.md``.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import runtime_rows
import scoring
import training_starts
import training_steps

from edgecell import console
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.threads import allowed_cpus

SECTIONS: Final = ("starts", "steps", "memory")
_NOTES: Final = (
    "By turns, in an order drawn anew each round; medians, the ratio of medians and the median "
    "difference over pairs, both with 95 % bootstrap intervals over pairs of this run. Starts: a "
    "process each, from before it is started until the first batch of pixels and labels is in its "
    "hands, TensorFlow not imported by either; the second run finds what an earlier one "
    "decoded. Steps: one process, epochs over images in memory, traced before. Memory: "
    "VmHWM of a process that trains one epoch on the whole set, beyond one that only imports Keras."
)


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    preset: str
    rows: tuple[runtime_rows.Row, ...]
    notes: str = _NOTES


def main() -> None:
    """Measures, prints and writes."""
    options = _options()
    before = scoring.circumstances(allowed_cpus(), allowed_cpus())
    generator = np.random.default_rng(options.seed)
    rows: list[runtime_rows.Row] = []
    sections: dict[str, Callable[[Path], list[runtime_rows.Row]]] = {
        "starts": lambda folder: training_starts.starts(
            options.data, folder, options.rounds, generator
        ),
        "steps": lambda _: training_steps.steps(
            training_steps.Plan(options.data, options.preset, options.images, options.rounds),
            generator,
        ),
        "memory": lambda folder: training_starts.memory(options.data, options.preset, folder),
    }
    try:
        for name in options.only:
            console.say(f"{name.capitalize()} ...")
            with tempfile.TemporaryDirectory() as folder:
                rows += sections[name](Path(folder))
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    result = Result(before, options.preset, tuple(rows))
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


def as_markdown(result: Result) -> str:
    """The table and the lines below it."""
    title = f"Training {result.preset}: beside the plain script"
    lines = [result.notes, result.circumstances.sentence()]
    return runtime_rows.table(title, result.rows) + "".join(f"\n{line}\n" for line in lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a zip of class folders")
    parser.add_argument("--preset", default="malaria-cnn")
    parser.add_argument("--images", type=int, default=2000, help="of the steps' epochs")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS))
    scoring.add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
