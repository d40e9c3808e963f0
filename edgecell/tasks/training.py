"""One training as the commands ``train`` and ``demo`` run it: images, progress, report."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecell import console
from edgecell.console import Table
from edgecell.drawn_cells import write_drawn_cells
from edgecell.report import write_report
from edgecell.tasks.training_request import Request, layers_of, resolve, small_data_note
from edgecell_export.card import figure_text, figures
from edgecell_export.parity import MINIMUM_SAMPLE
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder, storage_errors
from edgecell_runtime.image_tables import disputed_names, match_names
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_train import optimization
from edgecell_train.checkpoints import Unfinished, find_unfinished
from edgecell_train.config import TrainConfig
from edgecell_train.config_files import differences, merged
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.explaining import explain
from edgecell_train.hdf5_images import open_data
from edgecell_train.labelling import positive_label
from edgecell_train.presets import Preset, find_preset
from edgecell_train.runs import Run
from edgecell_train.training import Job, train

__all__ = ["Request", "result_table", "train_run"]

DRAWN = (
    "No --data given: training on cells that edgecell draws itself, so that everything can be "
    "tried without a download. The figures say nothing about real blood smears."
)


class _Progress(console.StageProgress):
    """Follows a training."""

    def left(self, folder: Path) -> None:
        """Says how a training that was left goes on."""
        console.say(
            f"The training was left in {console.shown(folder)}; go on with: edgecell train "
            f"--resume {console.shown(folder)}"
        )


@dataclass(frozen=True)
class _Asked:
    config: TrainConfig
    unfinished: Unfinished | None


def train_run(request: Request, runs: Path) -> Run:
    """Trains, reports and returns the run.

    Raises:
        EdgecellError: The images, the options or the disk do not allow it.
    """
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"--out {runs} is a file; expected a folder to put runs into.")
    check_folder(runs)
    asked = _asked(request, runs)
    config = asked.config
    optimization.check(config)
    if request.small_data:
        console.say(small_data_note())
    if asked.unfinished is not None:
        runs = asked.unfinished.folder.parent
    with _images(config, runs) as images:
        positive_label(images.labels, config.positive or None)
        for note in images.notes:
            console.warn(note)
        preset = _preset(config, len(images.labels))
        if not config.data and preset.preprocessing.depth is not None:
            raise UsageError(
                f"{preset.name} takes volumes, and edgecell draws none; give a folder of .npy "
                "files with --data."
            )
        job = Job(
            preset=preset,
            config=config,
            drawn=not config.data,
            cache=DecodedCache() if request.cache and config.data else None,
            disputed=_disputed(config, images),
        )
        with console.progress() as bars:
            outcome = train(images, job, runs, _Progress(bars), asked.unfinished)
    run = outcome.run
    for note in outcome.decoded.notes:
        console.warn(note)
    with run.open_images() as images:
        note = explain(run, images)
        if note:
            console.say(note)
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


def _asked(request: Request, runs: Path) -> _Asked:
    """The options, and the unfinished training that goes on with them.

    Raises:
        UsageError: Options differ from those of the unfinished training.
    """
    if not request.resume:
        return _Asked(resolve(request), None)
    unfinished = find_unfinished(request.resume, runs)
    stored = unfinished.record.config
    changed = differences(stored, merged(stored, layers_of(request)))
    if changed:
        unfinished.release()
        raise UsageError(
            f"{unfinished.folder} was begun with another {changed[0]}; a training goes on with the "
            "options that it began with. Leave the others out, or begin anew without --resume."
        )
    state = unfinished.load()
    epochs = len(state.history) if state else 0
    console.say(f"Going on with {console.shown(unfinished.folder)} after epoch {epochs}.")
    return _Asked(stored, unfinished)


def _preset(config: TrainConfig, labels: int) -> Preset:
    if not config.model:
        return find_preset(config.preset)
    from edgecell_train.own_model import preset_of_own_model

    shape = (*config.size, 3) if config.size else None
    return preset_of_own_model(config.model, shape, labels, console.say)


def _disputed(config: TrainConfig, images: LabelledImages) -> frozenset[str]:
    if not config.disputed:
        return frozenset()
    names = disputed_names(Path(config.disputed))
    found = match_names(names, [image.name for image in images], config.disputed)
    return frozenset(found.values())


@contextlib.contextmanager
def _images(config: TrainConfig, runs: Path) -> Iterator[LabelledImages]:
    if config.data:
        patients = Path(config.patients) if config.patients else None
        with open_data(Path(config.data), patients=patients) as images:
            yield images
        return
    console.say(DRAWN)
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        # Beside the runs, so that the cells can be moved into the run at its end.
        folder = tempfile.TemporaryDirectory(prefix=".drawing.", dir=runs)
    with folder:
        archive = Path(folder.name) / "cells.zip"
        write_drawn_cells(archive, seed=config.seed)
        with open_labelled(archive) as images:
            yield images


def _say_what_to_know(run: Run) -> None:
    data = run.record.data
    for note in run.record.training_notes:
        console.say(note)
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
