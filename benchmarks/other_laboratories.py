"""What becomes of a model's answers on cells as another laboratory might photograph them?

``python benchmarks/other_laboratories.py RUN ... --data ZIP`` changes the background, stain, light,
focus and compression of the cells of each run's test patients, and scores the run's int8 TFLite
file on them, as it is and with the slide masked. Synthetic throughout; see
``benchmarks/README.md``.
"""

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import laboratories
import numpy as np
import scoring
import slides
from numpy.typing import NDArray

from edgecell import console
from edgecell_export.known_images import read_known
from edgecell_runtime import metrics
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import EdgecellError, RunError
from edgecell_runtime.images import open_image
from edgecell_runtime.manifest import Figure
from edgecell_runtime.masking import mask_slide
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.runs import Run, SplitRow, find_run

_TIMED: Final = 500


@dataclass(frozen=True)
class Figures:
    """How right an artifact is on some cells.

    Attributes:
        accuracy: Of the likeliest label.
        change: Of the accuracy, against the cells as they are, with its interval over patients.
        sensitivity: Share of positives found, at the artifact's own threshold.
        specificity: Share of negatives left alone, at that threshold.
        auc: Area under the ROC curve.
    """

    accuracy: float
    change: Figure
    sensitivity: float | None
    specificity: float | None
    auc: float | None


@dataclass(frozen=True)
class Row:
    """One change of the cells, and one artifact.

    Attributes:
        artifact: The file's name.
        change: What was done to the cells.
        plain: The artifact's figures.
        masked: Those with the slide masked; None where the change is not one of the background.
    """

    artifact: str
    change: str
    plain: Figures
    masked: Figures | None


@dataclass(frozen=True)
class Masking:
    """What masking does to cells that stand on black, and what it costs.

    Attributes:
        cells: Of the whole set.
        changed: Of them, by masking.
        on_black_us: Median time for one of them, microseconds.
        on_slide_us: For one on a slide.
    """

    cells: int
    changed: int
    on_black_us: float
    on_slide_us: float


@dataclass(frozen=True)
class Result:
    """The whole result.

    Attributes:
        circumstances: Where and when.
        n: Cells of test patients.
        patients: That they come from.
        rows: One a change and artifact.
        masking: On all cells.
    """

    circumstances: scoring.Circumstances
    n: int
    patients: int
    rows: tuple[Row, ...]
    masking: Masking


@dataclass(frozen=True)
class Unseen:
    """The cells of the runs' test patients.

    Attributes:
        rows: Of the split.
        cells: uint8 (height, width, 3) each, as they are, of any sizes.
        spec: What becomes of them, without masking.
    """

    rows: tuple[SplitRow, ...]
    cells: tuple[NDArray[np.uint8], ...]
    spec: PreprocessSpec

    @property
    def patients(self) -> list[str | None]:
        """Of each cell."""
        return [row.image.patient for row in self.rows]


def main() -> int:
    """Scores, prints and writes."""
    options = _options()
    before = scoring.circumstances(1)
    try:
        runs = [find_run(path) for path in options.runs]
        unseen = read_unseen(runs, options.data)
        with contextlib.ExitStack() as stack:
            artifacts = {
                path.name: stack.enter_context(Classifier.open(path, threads=1))
                for path in map(_artifact, runs)
            }
            rows = score(artifacts, unseen)
        masking = try_masking(runs[0], options.data)
    except EdgecellError as error:
        console.error(str(error))
        return 1
    patients = len(set(unseen.patients) - {None})
    result = Result(before, len(unseen.rows), patients, tuple(rows), masking)
    text = as_markdown(result)
    print(text)
    scoring.write(result, text, options.output)
    return 0


def read_unseen(runs: Sequence[Run], data: Path | None) -> Unseen:
    """The cells that all runs were tested on.

    Raises:
        RunError: They were tested on different ones, or take images of different sizes.
        DataError: The cells are not there.
    """
    specs = {dataclasses.replace(run.record.preprocessing, masking=None) for run in runs}
    tested = {tuple(row for row in run.split() if row.part == "test") for run in runs}
    if len(specs) > 1 or len(tested) > 1:
        raise RunError(
            "The runs differ in their test images or in the images' size; expected runs of one "
            "split and one size. Compare them one by one."
        )
    (rows,) = tested
    with runs[0].open_images(data) as images:
        cells = tuple(np.asarray(open_image(read_known(images, row.image))) for row in rows)
    return Unseen(rows, cells, specs.pop())


def score(artifacts: Mapping[str, Classifier], unseen: Unseen) -> list[Row]:
    """Scores each artifact on the cells, changed in each way.

    Raises:
        EngineError: One fails.
    """
    as_they_are: dict[str, NDArray[np.float64]] = {}
    found = []
    for name, change in {**laboratories.BACKGROUNDS, **laboratories.CHANGES}.items():
        console.say(f"{name} ...")
        pixels = _changed(unseen, change)
        masked = np.stack([mask_slide(one, (0, 0, 0)) for one in pixels])
        for file, classifier in artifacts.items():
            answers = classifier.probabilities(pixels)
            before = as_they_are.setdefault(file, answers)  # the first change is none
            plain = _figures(classifier, (before, answers), unseen)
            other = None
            if name in laboratories.BACKGROUNDS:
                other = _figures(classifier, (before, classifier.probabilities(masked)), unseen)
            found.append(Row(file, name, plain, other))
    return found


def try_masking(run: Run, data: Path | None) -> Masking:
    """Masks all cells of the set, and times it.

    Raises:
        DataError: The cells are not there.
    """
    spec, rows = run.record.preprocessing, run.split()
    with run.open_images(data) as images:
        cells = [np.asarray(open_image(read_known(images, row.image))) for row in rows]
    on_black = [spec.apply(cell) for cell in cells]
    some = Unseen(tuple(rows[:_TIMED]), tuple(cells[:_TIMED]), spec)
    changed = sum(mask_slide(pixels, (0, 0, 0)) is not pixels for pixels in on_black)
    on_slide = _changed(some, slides.slide(0.35))
    return Masking(len(rows), changed, _median_us(on_black[:_TIMED]), _median_us(list(on_slide)))


def as_markdown(result: Result) -> str:
    """The tables and the line below them."""
    columns = (
        *("cells", "accuracy %", "change, points", "sensitivity", "specificity", "AUC"),
        *("masked: accuracy %", "change, points", "sensitivity", "specificity", "AUC"),
    )
    tables = [
        console.Table(
            artifact, columns, [_cells(row) for row in result.rows if row.artifact == artifact]
        )
        for artifact in dict.fromkeys(row.artifact for row in result.rows)
    ]
    masking = result.masking
    notes = (
        f"{result.n:,} cells of {result.patients} test patients, disputed labels included; "
        "accuracy of the likeliest label, with 95 % intervals over patients of its changes, "
        "sensitivity and specificity at each artifact's own threshold. "
        "Every row but the first is made from the same photographs by arithmetic: it says where a "
        "model is weak, not how it does in another laboratory.\n\n"
        f"Masking changes {masking.changed} of all {masking.cells:,} cells, which stand on black. "
        f"It takes {masking.on_black_us:.0f} us for one of them and {masking.on_slide_us:.0f} us "
        "for one on a slide."
    )
    text = "\n".join(console.markdown_table(table) for table in tables)
    return f"{text}\n{notes}\n\n{result.circumstances.sentence()}\n"


def _artifact(run: Run) -> Path:
    found = sorted(run.exports.glob("*-static_int8.tflite"))
    if len(found) != 1:
        raise RunError(
            f"{run.exports} has {len(found)} files *-static_int8.tflite; expected one: "
            "edgecell export RUN --format tflite --quantize int8."
        )
    return found[0]


def _changed(unseen: Unseen, change: slides.Change) -> NDArray[np.uint8]:
    """Each cell changed, with draws of its own, as the graph takes it."""
    of_patient: dict[str | None, list[int]] = {}
    for index, patient in enumerate(unseen.patients):
        of_patient.setdefault(patient, []).append(index)
    changed = []
    for index, patient in enumerate(unseen.patients):
        generator = np.random.default_rng((0, index))
        beside = unseen.cells[generator.choice(of_patient[patient])]
        cell = slides.Cell(unseen.cells[index], beside, generator)
        changed.append(unseen.spec.apply(change(cell)))
    return np.stack(changed)


def _figures(
    classifier: Classifier,
    answers: tuple[NDArray[np.float64], NDArray[np.float64]],
    unseen: Unseen,
) -> Figures:
    """Those of the second answers, and how they changed from the first."""
    manifest = classifier.manifest
    positive = manifest.labels.index(str(manifest.positive_label))
    truth = np.array([manifest.labels.index(row.image.label) for row in unseen.rows])
    before, after = (answer.argmax(axis=1) == truth for answer in answers)
    score = answers[1][:, positive]
    counts = metrics.count(truth == positive, score >= manifest.threshold)
    return Figures(
        accuracy=float(after.mean()),
        change=scoring.accuracy_change(before, after, unseen.patients),
        sensitivity=metrics.sensitivity(counts),
        specificity=metrics.specificity(counts),
        auc=metrics.rank_auc(truth == positive, score),
    )


def _median_us(images: Sequence[NDArray[np.uint8]]) -> float:
    times = []
    for pixels in images:
        begun = time.perf_counter()
        mask_slide(pixels, (0, 0, 0))
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e6


def _cells(row: Row) -> tuple[str, ...]:
    return (row.change, *_texts(row.plain), *_texts(row.masked))


def _texts(found: Figures | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 5
    shares = (found.sensitivity, found.specificity)
    return (
        f"{found.accuracy * 100:.2f}",
        scoring.points(found.change),
        *("-" if share is None else f"{share * 100:.2f}" for share in shares),
        "-" if found.auc is None else f"{found.auc:.3f}",
    )


def _options() -> argparse.Namespace:
    archive = "nlm-cells-50px.zip"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="runs' folders, with int8 exports")
    scoring.add_output(parser)
    parser.add_argument(
        "--data",
        type=Path,
        default=scoring.data_file(archive),
        help=f"the runs' images; {archive} in EDGECELL_DATA, or else where a run found them",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
