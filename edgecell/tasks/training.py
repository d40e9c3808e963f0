"""One training as the commands ``train`` and ``demo`` run it: images, progress, report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.disputed import disputed_images
from edgecell.tasks.training_images import open_images
from edgecell.tasks.training_request import (
    Request,
    layers_of,
    resolve,
    shortened,
    shortened_note,
    small_data_note,
)
from edgecell_export.card import figure_text, figures
from edgecell_export.parity import MINIMUM_SAMPLE
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.files import check_folder
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.manifest import Evaluation
from edgecell_runtime.wording import counted
from edgecell_train.caveats import has_own_test_part, lone_images_note
from edgecell_train.checkpoints import Unfinished, find_unfinished
from edgecell_train.config import TrainConfig
from edgecell_train.config_checks import check
from edgecell_train.config_files import differences, merged
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.labelling import positive_label
from edgecell_train.presets import Preset, find_preset
from edgecell_train.presets.base import KerasModel
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import Run
from edgecell_train.same_images import alike_patients_note
from edgecell_train.training import Job, finished_run, train

__all__ = ["Asked", "Request", "Teller", "result_table", "train_asked", "train_run"]

DRAWN = (
    "No --data given: training on cells that edgecell draws itself, so that everything can be "
    "tried without a download. The figures say nothing about real blood smears."
)


IMAGE_SPLIT = (
    "The split is by image, and the patients are known: the same ones are trained and tested on, "
    "so that the figures will be too good. Leave --split image out for figures on unseen patients."
)


class Teller:
    """Tells people about one training."""

    def stage(self, name: str) -> str:
        """What a stage is called."""
        return name

    def note(self, text: str) -> None:
        """Says what is to be looked at."""
        console.warn(text)

    def left(self, folder: Path) -> None:
        """Says how a training that was left goes on."""
        console.say(
            f"The training was left in {console.shown(folder)}; go on with: edgecell train "
            f"--resume {console.shown(folder)}"
        )


class TrainingProgress(console.StageProgress):
    """Follows a training."""

    def __init__(self, bars: Progress, teller: Teller) -> None:
        super().__init__(bars)
        self._teller = teller

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        return super().stage(self._teller.stage(name))

    def left(self, folder: Path) -> None:
        self._teller.left(folder)


@dataclass(frozen=True)
class Asked:
    """One training, all options known.

    Attributes:
        config: Every option.
        unfinished: The training that goes on; None begins one.
        cache: Whether decoded images are kept for the next training.
        name: Of the run's folder; empty takes the time and the preset.
    """

    config: TrainConfig
    unfinished: Unfinished | None = None
    cache: bool = True
    name: str = ""


def train_run(request: Request, runs: Path) -> Run:
    """Trains, reports and returns the run.

    Raises:
        EdgecellError: The images, the options or the disk do not allow it.
    """
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"--out {runs} is a file; expected a folder to put runs into.")
    check_folder(runs)
    asked = _asked(request, runs)
    check(asked.config)
    say_recipe(request, asked.config)
    if not asked.config.data:
        console.say(DRAWN)
    if asked.unfinished is not None:
        runs = asked.unfinished.folder.parent
    run = train_asked(asked, runs, Teller())
    _say_what_to_know(run)
    return run


def say_recipe(request: Request, config: TrainConfig) -> None:
    """Says what a recipe sets, and what of it did not fit."""
    if request.small_data:
        console.say(small_data_note())
    note = shortened_note(request, config)
    if note:
        console.say(note)


def train_asked(asked: Asked, runs: Path, teller: Teller) -> Run:
    """Trains and reports, and leaves a run; one that is whole already only gets its link.

    Raises:
        EdgecellError: The images, the options or the disk do not allow it.
    """
    config = asked.config
    whole = None if asked.unfinished is None else finished_run(asked.unfinished)
    if whole is not None:
        return whole

    def report(run: Run, images: LabelledImages, model: KerasModel) -> None:
        write_run_report(run, images, model, teller)

    with open_images(config, runs) as images:
        positive_label(images.labels, config.positive or None)
        for note in images.notes:
            teller.note(note)
        alike = alike_patients_note([image.patient for image in images])
        if alike:
            teller.note(alike)
        if config.split == "image" and any(image.patient for image in images):
            teller.note(IMAGE_SPLIT)
        preset = preset_of(config, len(images.labels))
        if not config.data and preset.preprocessing.depth is not None:
            raise UsageError(
                f"{preset.name} takes volumes, and edgecell draws none; give a folder of .npy "
                "files with --data."
            )
        job = Job(
            preset=preset,
            config=config,
            drawn=not config.data,
            cache=DecodedCache() if asked.cache and config.data else None,
            disputed=disputed_images(images, Path(config.disputed) if config.disputed else None),
            name=asked.name,
        )
        with console.progress() as bars:
            outcome = train(
                images, job, runs, TrainingProgress(bars, teller), asked.unfinished, report
            )
    for note in (*outcome.decoded.notes, *outcome.notes):
        teller.note(note)
    return outcome.run


def write_run_report(run: Run, images: LabelledImages, model: KerasModel, teller: Teller) -> None:
    """Writes what shows people how a run turned out.

    Raises:
        EdgecellError: The report cannot be written.
    """
    # Plots and templates take a second to import, which nobody waits for before the training.
    from edgecell.report import write_report
    from edgecell_train.explaining import explain

    note = explain(run, images, model)
    if note:
        teller.note(note)
    write_report(run.folder / "report.html", run, images)


def result_table(run: Run) -> Table:
    """The figures on the test patients."""
    record = run.record
    evaluation = record.evaluation
    if evaluation.folds is not None:
        return _refit_table(record)
    people = people_of(evaluation, record.configuration.get("split") != "image")
    drawn = ", drawn cells" if record.data.drawn else ""
    return Table(
        f"{record.preset} on {counted(evaluation.n, 'test image')}, {people}{drawn}"
        f"{decision_words(record)}",
        ("figure", "value (95 % interval)"),
        [(name, figure_text(figure)) for name, figure in figures(evaluation)],
    )


def _refit_table(record: RunRecord) -> Table:
    """The figures of the folds, where nobody is left to test on."""
    evaluation = record.evaluation
    return Table(
        f"{record.preset}, trained on all images; figures of {evaluation.folds} models of this "
        f"recipe on {counted(evaluation.n, 'image')} of "
        f"{people_of(evaluation, record.configuration.get('split') != 'image')}",
        ("figure", "value (95 % interval)"),
        [(name, figure_text(figure)) for name, figure in figures(evaluation)],
    )


def people_of(evaluation: Evaluation, unseen: bool) -> str:
    """Whose images an evaluation is of."""
    if not evaluation.patients:
        return "no known patient"
    if unseen:
        return counted(evaluation.patients, "unseen patient")
    verb = "was" if evaluation.patients == 1 else "were"
    return f"{counted(evaluation.patients, 'patient')}, who {verb} trained on too"


def decision_words(record: RunRecord) -> str:
    """Which decision the figures are of; the accuracy is of another one than the rest."""
    if record.positive_label is None:
        return ""
    return f"; accuracy of the likeliest label, the rest at the threshold {record.threshold:.3g}"


def _asked(request: Request, runs: Path) -> Asked:
    """The options, and the unfinished training that goes on with them.

    Raises:
        UsageError: Options differ from those of the unfinished training.
    """
    if not request.resume:
        return Asked(resolve(request), cache=request.cache)
    unfinished = find_unfinished(request.resume, runs)
    stored = unfinished.record.config
    try:
        require_same_options(unfinished.folder, stored, request)
    except EdgecellError:
        unfinished.release()
        raise
    epochs = unfinished.epochs
    console.say(f"Going on with {console.shown(unfinished.folder)} after epoch {epochs}.")
    return Asked(stored, unfinished, request.cache)


def require_same_options(folder: Path, stored: TrainConfig, request: Request) -> None:
    """Refuses options other than those that a training began with.

    Raises:
        UsageError: One differs.
    """
    changed = differences(stored, shortened(merged(stored, layers_of(request)), request))
    if changed:
        raise UsageError(
            f"{folder} was begun with another {changed[0]}; a training goes on with the "
            "options that it began with. Leave the others out, or begin anew without --resume."
        )


def preset_of(config: TrainConfig, labels: int) -> Preset:
    """The preset, or what is one of the user's own model.

    Raises:
        EdgecellError: There is none, or the model cannot be trained.
    """
    if not config.model:
        return find_preset(config.preset)
    from edgecell_train.own_model import preset_of_own_model

    shape = (*config.size, 3) if config.size else None
    return preset_of_own_model(config.model, shape, labels, console.say)


def _say_what_to_know(run: Run) -> None:
    for note in run.record.training_notes:
        console.say(note)
    say_what_to_know(run, Teller())


def say_what_to_know(run: Run, teller: Teller) -> None:
    """Says what the data and the split leave open."""
    data = run.record.data
    if data.unreadable:
        teller.note(
            f"Left out: {counted(len(data.unreadable), 'image')} that could not be read, such as "
            f"{data.unreadable[0]}; {run.folder / 'run.json'} lists all."
        )
    if data.without_patient:
        teller.note(lone_images_note(data, has_own_test_part(run.split())))
    if run.record.positive_label is None:
        teller.note("There is no positive label (--positive): sensitivity and AUC are not shown.")
    if run.record.evaluation.n < MINIMUM_SAMPLE:
        teller.note(
            f"The test has only {counted(run.record.evaluation.n, 'image')}. An export compares "
            f"the converted file on at least {MINIMUM_SAMPLE}, and will refuse this run: train on "
            "more images."
        )
