"""How many calibration images are enough for ``static_int8``?

``python benchmarks/calibration_size.py RUN`` converts with more and more images of training
patients and each rule for ranges, and compares the answers with the Keras model's on all images of
validation patients: choices are not made on test patients. See ``benchmarks/README.md``.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, get_args

import numpy as np
import scoring
from contenders import Pixels
from numpy.typing import NDArray

from edgecell import console
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.keras_graph import read_graph
from edgecell_export.kinds import RangeRule
from edgecell_export.known_images import read_known
from edgecell_export.output_capture import converter_output
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import IMAGES, Graph, for_integers, prepare
from edgecell_export.recipes import RECIPES
from edgecell_export.source import KnownImage, SourceModel, source_probabilities
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines import engine_for
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Format, Manifest
from edgecell_train.runs import Run, find_run

_ARCHIVE: Final = "nlm-cells-50px.zip"
_SIZES: Final = (10, 30, 100, 300, 512, 1000, 3000)
_RULES: Final[tuple[RangeRule, ...]] = get_args(RangeRule)
_FORMATS: Final[tuple[Format, ...]] = ("tflite", "onnx")
_NOTES: Final = (
    "Each draw picks its images of training patients anew, without darker and lighter copies; the "
    "first picks those that the export of the run picks. A label has changed where the file and "
    "the Keras model disagree on an image of a validation patient; differences are of "
    "probabilities, on each image the largest one."
)


@dataclass(frozen=True)
class Draw:
    """What came of one choice of calibration images.

    Attributes:
        changed_labels: Images with another label than the Keras model's.
        mean_difference: Mean over images of the largest difference of a probability.
        largest_difference: Of a probability.
        seconds: Of the conversion, without the preparation of the graph.
    """

    changed_labels: int
    mean_difference: float
    largest_difference: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One format, rule and number of images; ``failure`` says why there are no draws."""

    format: Format
    ranges: RangeRule
    images: int
    draws: tuple[Draw, ...]
    failure: str = ""


@dataclass(frozen=True)
class CalibrationSizes:
    """The whole result."""

    circumstances: scoring.Circumstances
    run: str
    n: int
    patients: int
    rows: tuple[Row, ...]
    notes: str = _NOTES


class Trial:
    """Converts with some calibration images, and compares the answers.

    Args:
        source: The trained model.
        calibration: uint8 (images, height, width, channels), to calibrate with.
        validation: uint8 (n, height, width, channels), to compare on.
        folder: For temporary files.
    """

    def __init__(
        self, source: SourceModel, calibration: Pixels, validation: Pixels, folder: Path
    ) -> None:
        self._source, self._validation, self._folder = source, validation, folder
        self._file = PixelFile(folder / "calibration", source.preprocessing.shape)
        self._file.append(calibration)
        self._exact: Graph = prepare(read_graph(source.model), source.head)
        self._images = calibration[:IMAGES]

    def draw(self, form: Format, ranges: RangeRule, expected: NDArray[np.float64]) -> Draw:
        """Converts once.

        Args:
            form: Of the file.
            ranges: How ranges follow from the images.
            expected: float64 (n, labels), the Keras model's answers.

        Raises:
            EdgecellError: The conversion failed.
        """
        converter, recipe = CONVERTERS[form], RECIPES["static_int8"]
        path = self._folder / f"trial{converter.suffix}"
        began = time.perf_counter()
        with converter_output():
            largest = converter.largest_weight(recipe, "any")
            graph = for_integers(self._exact, self._images, largest=largest)
            converter.convert(Conversion(graph, recipe, self._file, ranges=ranges), path)
        seconds = time.perf_counter() - began
        found = self._answers(form, path)
        differences = np.abs(found - expected).max(axis=1)
        return Draw(
            int(np.count_nonzero(found.argmax(axis=1) != expected.argmax(axis=1))),
            float(differences.mean()),
            float(differences.max()),
            seconds,
        )

    def _answers(self, form: Format, path: Path) -> NDArray[np.float64]:
        source = self._source
        manifest = Manifest(
            format=form,
            recipe="static_int8",
            labels=source.labels,
            signature=CONVERTERS[form].signature(path),
            preprocessing=source.preprocessing,
            head=source.head,
            source=source.source,
        )
        with converter_output():
            session = engine_for(form).open(path.read_bytes(), 1)
        with Classifier(session, manifest) as classifier:
            return np.concatenate(
                [classifier.probabilities(one[np.newaxis]) for one in self._validation]
            )


def main() -> None:
    """Tries, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    try:
        run = find_run(options.run)
        result = try_sizes(run, options, before)
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)


def try_sizes(
    run: Run, options: argparse.Namespace, before: scoring.Circumstances
) -> CalibrationSizes:
    """All formats, rules, sizes and draws.

    Raises:
        EdgecellError: The run or its images cannot be used.
    """
    source = run.source_model()
    split = run.split()
    training = sorted((row.image for row in split if row.part == "training"), key=_name)
    held = [row for row in split if row.part == "validation"]
    found: dict[tuple[Format, RangeRule, int], list[Draw]] = {}
    failures: dict[tuple[Format, RangeRule, int], str] = {}
    with run.open_images(options.data) as images:
        read = _reader(images, source)
        validation = np.stack([read(row.image) for row in held])
        expected = source_probabilities(
            source.model, validation, source.head, source.labels, source.temperature
        )
        for size, number in itertools.product(options.sizes, range(options.draws)):
            order = np.random.default_rng(run.record.seed + number).permutation(len(training))
            calibration = np.stack([read(training[index]) for index in order[:size]])
            with tempfile.TemporaryDirectory() as folder:
                trial = Trial(source, calibration, validation, Path(folder))
                for form, ranges in itertools.product(_FORMATS, options.ranges):
                    key = (form, ranges, len(calibration))
                    console.say(f"{form}, {ranges}, {len(calibration)} images, draw {number} ...")
                    try:
                        draw = trial.draw(form, ranges, expected)
                    except EdgecellError as error:
                        failures[key] = str(error)
                    else:
                        found.setdefault(key, []).append(draw)
    return CalibrationSizes(
        circumstances=before,
        run=run.folder.name,
        n=len(held),
        patients=len({row.image.patient for row in held} - {None}),
        rows=tuple(_rows(found, failures)),
    )


def _rows(
    found: dict[tuple[Format, RangeRule, int], list[Draw]],
    failures: dict[tuple[Format, RangeRule, int], str],
) -> Iterator[Row]:
    for key in sorted({*found, *failures}, key=lambda key: (key[0], _RULES.index(key[1]), key[2])):
        yield Row(*key, tuple(found.get(key, ())), failures.get(key, ""))


def _reader(images: LabelledImages, source: SourceModel) -> Callable[[KnownImage], Pixels]:
    """Reads and preprocesses an image; those of several draws once."""
    return cache(lambda known: source.preprocessing.apply(read_known(images, known)))


def _name(image: KnownImage) -> str:
    return image.name


def as_markdown(result: CalibrationSizes) -> str:
    """The table and the lines below it."""
    title = f"{result.run}: {result.n:,} cells of {result.patients} validation patients"
    columns = ("format", "ranges", "images", "labels changed", "mean difference", "largest", "s")
    cells = [_cells(row) for row in result.rows]
    failed = [
        f"Failed: {row.format}, {row.ranges}, {row.images}: {row.failure}"
        for row in result.rows
        if row.failure
    ]
    lines = [*failed, result.notes, result.circumstances.sentence()]
    table = console.markdown_table(console.Table(title, columns, cells))
    return table + "".join(f"\n{line}\n" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    start = (row.format, row.ranges, f"{row.images}")
    if not row.draws:
        return (*start, "failed", "-", "-", "-")
    return (
        *start,
        ", ".join(f"{draw.changed_labels}" for draw in row.draws),
        f"{np.mean([draw.mean_difference for draw in row.draws]):.5f}",
        f"{max(draw.largest_difference for draw in row.draws):.3f}",
        f"{np.mean([draw.seconds for draw in row.draws]):.1f}",
    )


def _options() -> argparse.Namespace:
    parser = scoring.run_parser(__doc__, _ARCHIVE)
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES)
    parser.add_argument("--ranges", nargs="+", choices=get_args(RangeRule), default=_RULES)
    parser.add_argument("--draws", type=int, default=3, help="choices of images a size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
