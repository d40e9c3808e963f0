"""Does the memory of a ``static_int8`` conversion grow with the calibration images?

``python benchmarks/calibration_memory.py RUN`` converts with few and with many, each time in a
process of its own. See ``benchmarks/README.md``.
"""

import argparse
import itertools
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import scoring
from converting import Outcome, run_child

from edgecell import console
from edgecell_export.kinds import RangeRule
from edgecell_export.known_images import read_known
from edgecell_export.pixels import PixelFile
from edgecell_runtime.errors import EdgecellError
from edgecell_train.runs import Run, find_run

_ARCHIVE: Final = "nlm-cells-50px.zip"
_NOTES: Final = (
    "Each row is a process of its own, from the interpreter's start to its end: it imports "
    "TensorFlow, loads and prepares the model, and converts it once. Memory is its VmHWM. The "
    "images are those of training patients, again from the start where there are too few."
)


@dataclass(frozen=True)
class Row:
    """One format, rule and number of images."""

    format: str
    ranges: str
    images: int
    outcome: Outcome


@dataclass(frozen=True)
class CalibrationMemory:
    """The whole result."""

    circumstances: scoring.Circumstances
    run: str
    rows: tuple[Row, ...]
    notes: str = _NOTES


def main() -> None:
    """Measures, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    try:
        run = find_run(options.run)
        result = CalibrationMemory(before, run.folder.name, tuple(measure(run, options)))
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


def measure(run: Run, options: argparse.Namespace) -> list[Row]:
    """A row for each format, rule and number of images.

    Raises:
        EdgecellError: The run or its images cannot be used.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in options.sizes:
            pixels = Path(folder) / f"calibration-{count}"
            write_images(run, options.data, pixels, count)
            for form, ranges in itertools.product(options.formats, options.ranges):
                console.say(f"{form}, {ranges}, {count:,} images ...")
                arguments = [str(run.folder), str(pixels), form, ranges]
                outcome = run_child("calibrate_one.py", arguments)
                rows.append(Row(form, ranges, count, outcome))
    return sorted(rows, key=lambda row: (row.format, row.ranges, row.images))


def write_images(run: Run, data: Path | None, path: Path, count: int) -> None:
    """Writes so many images of training patients, again from the start where there are too few."""
    file = PixelFile(path, run.record.preprocessing.shape)
    training = [row.image for row in run.split() if row.part == "training"]
    with run.open_images(data) as images:
        file.append(
            run.record.preprocessing.apply(read_known(images, known))
            for known in itertools.islice(itertools.cycle(training), count)
        )


def as_markdown(result: CalibrationMemory) -> str:
    """The table and the lines below it."""
    columns = ("format", "ranges", "images", "peak MB", "seconds")
    cells = [_cells(row) for row in result.rows]
    lines = [
        *(
            f"Failed: {row.format}, {row.ranges}, {row.images}: {row.outcome.failure}"
            for row in result.rows
            if row.outcome.cost is None
        ),
        result.notes,
        result.circumstances.sentence(),
    ]
    table = console.markdown_table(console.Table(result.run, columns, cells))
    return table + "".join(f"\n{line}\n" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    start, cost = (row.format, row.ranges, f"{row.images:,}"), row.outcome.cost
    if cost is None:
        return (*start, "failed", "-")
    return (*start, f"{(cost.peak_memory_bytes or 0) / 1e6:.0f}", f"{cost.seconds:.1f}")


def _options() -> argparse.Namespace:
    parser = scoring.run_parser(__doc__, _ARCHIVE)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 20_000])
    parser.add_argument("--formats", nargs="+", default=["tflite", "onnx"])
    parser.add_argument("--ranges", nargs="+", choices=get_args(RangeRule), default=["min-max"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
