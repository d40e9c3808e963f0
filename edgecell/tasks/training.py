"""One training as the commands ``train`` and ``demo`` run it: images, progress, report."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.console import Table
from edgecell.drawn_cells import write_drawn_cells
from edgecell.report import write_report
from edgecell_export.card import figure_text, figures
from edgecell_export.parity import MINIMUM_SAMPLE
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder, storage_errors
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_train.fitting import FitOptions
from edgecell_train.presets import find_preset
from edgecell_train.runs import Run
from edgecell_train.training import TrainConfig, positive_label, train

DRAWN = (
    "No --data given: training on cells that edgecell draws itself, so that everything can be "
    "tried without a download. The figures say nothing about real blood smears."
)


DRAWN_EPOCHS: Final = 10
"""With so few cells the presets' epochs leave a net that has not made up its mind."""


@dataclass(frozen=True)
class Request:
    """What the user asked for; None takes the preset's own value.

    Attributes:
        data: Folder or zip of labelled images; None draws cells.
        preset: Name of the preset.
        epochs: Passes over the training images.
        batch_size: Images a step.
        seed: Of split, weights and order.
        positive: The positive label.
    """

    data: Path | None
    preset: str = "malaria-cnn"
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    positive: str | None = None


def train_run(request: Request, runs: Path) -> Run:
    """Trains, reports and returns the run.

    Raises:
        EdgecellError: The images, the options or the disk do not allow it.
    """
    preset = find_preset(request.preset)
    options = FitOptions(
        epochs=request.epochs or (preset.epochs if request.data else DRAWN_EPOCHS),
        batch_size=request.batch_size or preset.batch_size,
        seed=request.seed,
    )
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"--out {runs} is a file; expected a folder to put runs into.")
    check_folder(runs)
    with _images(request, runs) as images:
        positive_label(images.labels, request.positive)
        for note in images.notes:
            console.warn(note)
        config = TrainConfig(preset, options, request.positive, drawn=request.data is None)
        with console.progress() as bars:
            run = train(images, config, runs, console.StageProgress(bars)).run
    with run.open_images() as images:
        write_report(run.folder / "report.html", run, images)
    _say_what_to_know(run)
    return run


def result_table(run: Run) -> Table:
    """The figures on the test patients."""
    record = run.record
    evaluation = record.evaluation
    people = f"{evaluation.patients} unseen patients" if evaluation.patients else "no known patient"
    drawn = ", drawn cells" if record.data.drawn else ""
    return Table(
        f"{record.preset} on {evaluation.n:,} test images, {people}{drawn}",
        ("figure", "value (95 % interval)"),
        [(name, figure_text(figure)) for name, figure in figures(evaluation)],
    )


@contextlib.contextmanager
def _images(request: Request, runs: Path) -> Iterator[LabelledImages]:
    if request.data is not None:
        with open_labelled(request.data) as images:
            yield images
        return
    console.say(DRAWN)
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        # Beside the runs, so that the cells can be moved into the run at its end.
        folder = tempfile.TemporaryDirectory(prefix=".drawing.", dir=runs)
    with folder:
        archive = Path(folder.name) / "cells.zip"
        write_drawn_cells(archive, seed=request.seed)
        with open_labelled(archive) as images:
            yield images


def _say_what_to_know(run: Run) -> None:
    data = run.record.data
    if data.unreadable:
        console.warn(
            f"{len(data.unreadable)} images could not be read and were left out, such as "
            f"{data.unreadable[0]}; {run.folder / 'run.json'} lists them."
        )
    if data.without_patient:
        console.warn(
            f"{data.without_patient:,} of {data.images:,} images carry no patient and were split "
            "one by one; if patients gave several, the figures are too good."
        )
    if run.record.positive_label is None:
        console.warn("There is no positive label (--positive): sensitivity and AUC are not shown.")
    if run.record.evaluation.n < MINIMUM_SAMPLE:
        console.warn(
            f"Only {run.record.evaluation.n:,} images were held out. An export compares the "
            f"converted file on at least {MINIMUM_SAMPLE} of them, and will refuse this run: train "
            "on more images."
        )
