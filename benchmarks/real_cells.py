"""Compares edgecell's exports of a run on real cells with the conversions of the plain tools.

``python benchmarks/real_cells.py RUN`` scores every file on all of the run's test images and
measures latency by turns. See ``benchmarks/README.md``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import contenders
import numpy as np
import scoring
import stock
from comparison import Comparison, Row, as_markdown
from contenders import Contender, Pixels, Query
from numpy.typing import NDArray
from turns import TurnPlan, measure_by_turns, ratio_of_medians
from unseen import TestImages, read_test_images

from edgecell import console
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.known_images import write_calibration
from edgecell_export.output_capture import converter_output
from edgecell_export.pixels import PixelFile
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Evidence, SourceModel
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import EdgecellError, ExportError
from edgecell_runtime.measure import LatencyStats
from edgecell_train.runs import Run, find_run
from edgecell_train.statistics import evaluate

_ARCHIVE = "nlm-cells-50px.zip"
_ENGINES = ("tensorflow", "litert", "onnxruntime")
_MAKERS = ("Keras", "edgecell", "stock")


def main() -> None:
    """Compares, prints and writes."""
    options = _options()
    before = scoring.circumstances(options.threads)
    try:
        run = find_run(options.run)
        _fix_tensorflow_threads(options.threads)
        if options.folder is not None:
            options.folder.mkdir(parents=True, exist_ok=True)
            comparison = compare(run, options, options.folder, before)
        else:
            with tempfile.TemporaryDirectory() as folder:
                comparison = compare(run, options, Path(folder), before)
    except EdgecellError as error:
        sys.exit(f"Error: {error}")
    text = as_markdown(comparison)
    print(text)
    scoring.write(comparison, text, options.output)


def compare(
    run: Run, options: argparse.Namespace, folder: Path, before: scoring.Circumstances
) -> Comparison:
    """Exports, converts, scores and measures.

    Raises:
        EdgecellError: The run or its images cannot be used.
    """
    source = run.source_model()
    with run.open_images(options.data) as images:
        evidence = run.evidence(images)
        test = read_test_images(run, evidence)
        artifacts, refused = export_all(run, source, evidence, folder, fresh=options.fresh)
        calibration = calibration_images(evidence, source)
    console.say("Converting with the plain tools ...")
    plain = stock.convert_all(source.model, calibration, folder)
    with converter_output():  # engines say on standard error that they start
        field = [
            contenders.keras_contender(source, run.model_file),
            *(contenders.edgecell_contender(path, options.threads) for path in artifacts),
            *(contenders.stock_contender(path, source, options.threads) for path in plain),
        ]
    field.sort(key=_place)
    plan = TurnPlan(rounds=options.rounds, seed=options.seed)
    console.say(f"Measuring {len(field)} models by turns ...")
    durations = measure_by_turns([Query(one, test.pixels) for one in field], plan)
    rows = [_row(one, field, durations, test, run) for one in field]
    return Comparison(
        circumstances=before,
        run=run.folder.name,
        plan=plan,
        n=len(test.truth),
        patients=len(set(test.patients) - {None}),
        rows=tuple(rows),
        refused=tuple(refused),
    )


def calibration_images(evidence: Evidence, source: SourceModel) -> Pixels:
    """The images that edgecell calibrates with.

    Raises:
        EdgecellError: There are too few, or one cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        pixels = PixelFile(Path(folder) / "calibration", source.preprocessing.shape)
        write_calibration(pixels, evidence, source.preprocessing, source.labels)
        return pixels.first(len(pixels))


def export_all(
    run: Run, source: SourceModel, evidence: Evidence, folder: Path, *, fresh: bool
) -> tuple[list[Path], list[str]]:
    """Every format in every recipe that it has; the run's own exports where they are its own.

    Args:
        run: The run.
        source: Its model.
        evidence: Its images.
        folder: Where new artifacts go.
        fresh: Whether to export anew what the run has exported.

    Returns:
        The artifacts, and a sentence on each export that was refused.
    """
    artifacts, refused = [], []
    with Exporter(source, evidence) as exporter:
        for converter in CONVERTERS.values():
            for name in converter.recipes:
                path = run.exports / f"{source.name}-{name}{converter.suffix}"
                if not fresh and _is_of_run(path, source):
                    artifacts.append(path)
                    continue
                console.say(f"Exporting {path.name} ...")
                try:
                    artifacts.append(exporter.export(converter, RECIPES[name], folder).path)
                except ExportError as error:
                    refused.append(f"{path.name}: {error}")
    return artifacts, refused


def _is_of_run(path: Path, source: SourceModel) -> bool:
    if not path.exists():
        return False
    return read_artifact(path).manifest.source.weights_sha256 == source.source.weights_sha256


def _fix_tensorflow_threads(threads: int) -> None:
    """Before TensorFlow computes anything; afterwards it refuses."""
    threading = import_tensorflow().config.threading
    threading.set_intra_op_parallelism_threads(threads)
    threading.set_inter_op_parallelism_threads(1)


def _place(contender: Contender) -> tuple[bool, int, int]:
    """Keras first, then by engine, edgecell's before the stock ones."""
    engine = _ENGINES.index(contender.engine)
    return contender.maker != "Keras", engine, _MAKERS.index(contender.maker)


def _row(
    contender: Contender,
    field: list[Contender],
    durations: NDArray[np.int64],
    test: TestImages,
    run: Run,
) -> Row:
    console.say(f"Scoring {contender.file} ...")
    record = run.record
    probabilities = contender.probabilities(test.pixels)
    predicted, before = probabilities.argmax(axis=1), test.stored.argmax(axis=1)
    differences = np.abs(probabilities - test.stored).max(axis=1)
    highest = np.sort(probabilities, axis=1)
    own = durations[field.index(contender)]
    reference = _reference(contender, field)
    return Row(
        file=contender.file,
        maker=contender.maker,
        engine=contender.engine,
        recipe=contender.recipe,
        size_bytes=contender.size_bytes,
        latency=LatencyStats.from_nanoseconds(own),
        ratio=None if reference is None else ratio_of_medians(own, durations[reference]),
        evaluation=evaluate(
            test.truth,
            probabilities,
            test.patients,
            labels=record.labels,
            positive_label=record.positive_label,
            threshold=record.threshold,
        ),
        accuracy_change=scoring.accuracy_change(
            before == test.truth, predicted == test.truth, test.patients
        ),
        changed_labels=float(np.mean(predicted != before)),
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        undecided=int(np.count_nonzero(highest[:, -1] == highest[:, -2])),
    )


def _reference(contender: Contender, field: list[Contender]) -> int | None:
    """Index of edgecell's float32 of the same engine; None where its export was refused."""
    for index, other in enumerate(field):
        if (other.maker, other.recipe, other.engine) == ("edgecell", "float32", contender.engine):
            return index
    return None


def _options() -> argparse.Namespace:
    parser = scoring.run_parser(__doc__, _ARCHIVE)
    parser.add_argument("--folder", type=Path, help="where new files go, and stay")
    parser.add_argument("--fresh", action="store_true", help="do not take the run's own exports")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns")
    return parser.parse_args()


if __name__ == "__main__":
    main()
