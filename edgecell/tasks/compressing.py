"""Compressions as the command ``compress`` runs them: a search, its folder, and the run at the end.

While a compression lasts, its folder ``<time>-<name>-search`` lies beside the runs. It holds the
search, and at the end the training that makes the run, which takes from it what belongs to it.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecell import console
from edgecell.tasks.compressing_request import (
    SUFFIX,
    Request,
    begin,
    carried_on,
    find_unfinished,
)
from edgecell.tasks.disputed import disputed_images
from edgecell.tasks.file_lock import locked
from edgecell.tasks.training import Teller, TrainingProgress, write_run_report
from edgecell.tasks.training_images import open_images
from edgecell.tasks.training_request import refuse_twice
from edgecell_export.conversion_process import ConversionProcess
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import TrainingError, UsageError
from edgecell_runtime.files import check_folder, storage_errors
from edgecell_runtime.labelled import LabelledImages
from edgecell_train import checkpoints
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import nearest
from edgecell_train.compression.measuring import Meter
from edgecell_train.compression.merging import widths_of
from edgecell_train.compression.search import (
    FRONTIER_CSV,
    FRONTIER_PNG,
    SEARCH,
    Search,
    chosen_step,
    read_search,
    write_search,
)
from edgecell_train.compression.searching import Searcher, preset_of, start_of
from edgecell_train.compression.source import FOLDER
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.preparing import Work, prepare
from edgecell_train.presets.base import KerasModel
from edgecell_train.run_writing import save_model
from edgecell_train.runs import RECORD, Run, find_run, point_latest
from edgecell_train.training import Job, train


@dataclass(frozen=True)
class Compressed:
    """A finished compression.

    Attributes:
        run: The run that it left.
        search: What it came by.
    """

    run: Run
    search: Search


class _Teller(Teller):
    def left(self, folder: Path) -> None:
        """The compression says how it goes on."""


def compress(request: Request) -> Compressed:
    """Searches, fine-tunes, tests once, and leaves a run.

    Raises:
        EdgecellError: The run, the options or the disk do not allow it, or no net meets the
            limits; what was found is kept.
    """
    refuse_twice(request.layers)
    check_folder(request.out)
    folder = find_unfinished(request) if request.resume else begin(request)
    with locked(folder):
        search = read_search(folder)
        if request.resume:
            search = carried_on(search, request)
            write_search(folder, search)  # with table and plot, which a full disk may have kept
            console.say(f"Going on with {console.shown(folder)} after {_steps(search)}.")
        place = folder.parent / folder.name.removesuffix(SUFFIX)
        with _kept(folder, is_new=not request.resume):
            search = _carried_out(folder, search, place)
        if note := point_latest(place):
            console.warn(note)
    shutil.rmtree(folder, ignore_errors=True)
    return Compressed(find_run(place), search)


def _carried_out(folder: Path, search: Search, place: Path) -> Search:
    """Does what is left of a compression, until its run is in its place.

    Raises:
        EdgecellError: See ``compress``.
    """
    whole = folder / place.name
    if not (place / RECORD).is_file():
        if not (whole / RECORD).is_file():
            run = find_run(Path(search.source))
            search = _search_and_train(folder, run, search, whole.name)
        with storage_errors(place):
            whole.replace(place)
    return search


def _search_and_train(folder: Path, run: Run, search: Search, name: str) -> Search:
    """Goes on with a search, and makes its run in its folder.

    Raises:
        EdgecellError: See ``compress``.
    """
    config = search.config
    with open_images(config, folder) as images, console.progress() as bars:
        watcher = TrainingProgress(bars, _Teller())
        job = Job(
            preset=preset_of(search, run.record, run.source_model().model),
            config=config,
            drawn=not config.data,
            cache=DecodedCache() if config.data else None,
            disputed=disputed_images(images, Path(config.disputed) if config.disputed else None),
            name=name,
            split=tuple(run.split()),
        )
        work = prepare(images, job, folder, watcher)
        if search.final is None:
            search = _fine_tuned(folder, run, search, work, watcher)
        assert search.final is not None
        console.say(f"Fine-tuned: {search.final.words()}.")
        if search.has_failed:  # it is not tested then
            raise _no_point(folder, search)
        _warn_of_rounding(search.final)
        net = start_of(folder, search, search.final.step)

        def report(made: Run, images: LabelledImages, model: KerasModel) -> None:
            _add_search(folder, made, search, net)
            write_run_report(made, images, model, _Teller())

        job = dataclasses.replace(
            job,
            preset=preset_of(search, run.record, net),
            notes=(_origin(run, search, net),),
        )
        train(images, job, folder, watcher, _final_training(folder, search, work), report)
    return search


def _fine_tuned(
    folder: Path, run: Run, search: Search, work: Work, watcher: TrainingProgress
) -> Search:
    """Searches, and fine-tunes what was found to its end; the training's state stays."""
    source, evidence = run.source_model().model, run.evidence(work.images)
    with (
        ConversionProcess(warm=True) as process,
        contextlib.closing(
            Meter(source, run.record, evidence, work.part("validation"), process)
        ) as meter,
    ):
        searcher = Searcher(folder, run, work, meter, watcher)
        search, chosen = _searched(searcher, search)
        unfinished = _final_training(folder, search, work)
        try:
            return searcher.finish(search, chosen.step, unfinished)
        finally:
            unfinished.release()


def _searched(searcher: Searcher, search: Search) -> tuple[Search, Point]:
    """Goes on step by step until a net is worth the final fine-tuning.

    Raises:
        UsageError: The source meets the limits already.
        TrainingError: No net meets them.
    """
    if not search.points:
        search = searcher.begin(search)
    source = search.points[0]
    if search.limits.has_costs and search.limits.meets_costs(source):
        raise UsageError(
            f"The run meets the limits as it is: as int8 TFLite it takes {source.words()}. Export "
            "it with --quantize int8, or ask for less."
        )
    while (chosen := chosen_step(search)) is None and not search.exhausted:
        search = searcher.step(search)
        if not search.exhausted:
            console.say(f"Step {search.points[-1].step}: {search.points[-1].words()}.")
    if chosen is None:
        raise _no_point(searcher.folder, search)
    return search, chosen


def _no_point(folder: Path, search: Search) -> TrainingError:
    return TrainingError(
        f"No net was found within {search.limits.words()}; the nearest: "
        f"{nearest(search.points, search.limits)}. {console.shown(folder / FRONTIER_CSV)} has all "
        "points; allow more, or fine-tune longer with --epochs."
    )


def _warn_of_rounding(final: Point) -> None:
    allowed = RECIPES["static_int8"].limits.changed_labels
    if allowed is not None and final.changed_labels > allowed:
        console.warn(
            f"As int8, the net gives {final.changed_labels:.1%} of the validation images another "
            f"label than in float; an export allows {allowed:.0%} on the test images, and may "
            "refuse it. Then take --max-drop with the export, which leaves layers in float."
        )


def _final_training(folder: Path, search: Search, work: Work) -> Unfinished:
    """Where the state of the final training is, of which every epoch is kept."""
    if any(folder.glob(f"{checkpoints.PREFIX}*/{checkpoints.RECORD}")):
        unfinished = checkpoints.find_unfinished("latest", folder)
    else:
        record = UnfinishedRecord(
            search.name, search.config, work.decoded.data_sha256, work.images.labels
        )
        unfinished = checkpoints.begin(folder, record)
    unfinished.every_s = 0.0
    return unfinished


def _add_search(folder: Path, made: Run, search: Search, net: KerasModel) -> None:
    """Puts the search and the net that the last fine-tuning began with into the run."""
    place = made.folder / FOLDER
    with storage_errors(place):
        place.mkdir()
        for name in (SEARCH, FRONTIER_CSV, FRONTIER_PNG):
            shutil.copy(folder / name, place / name)
        save_model(net, place / f"{search.name}.keras")


def _origin(run: Run, search: Search, net: KerasModel) -> str:
    """Where the net came from, for the run's record."""
    before, after = widths_of(run.source_model().model), widths_of(net)
    widths = ", ".join(
        f"{name} {before[name]} to {width}" if name in before else f"{name} of {width}"
        for name, width in after.items()
    )
    return (
        f"Compressed from the run {run.folder.name} (weights {run.record.weights_sha256[:16]}) "
        f"within {search.limits.words()}; channels: {widths}."
    )


@contextlib.contextmanager
def _kept(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Says how a compression that was left goes on; leaves no new one that had found nothing."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, TrainingError):  # which names the table, and would come again
            raise
        if is_new and not any(folder.glob("step-*.keras")):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            shown = console.shown(folder)
            console.say(
                f"The compression was left in {shown}; go on with: edgecell compress --resume "
                f"{shown}"
            )
        raise


def _steps(search: Search) -> str:
    return f"step {search.points[-1].step}" if search.points else "its beginning"
