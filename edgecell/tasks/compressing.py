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
from edgecell.tasks.compressing_words import (
    diverged,
    no_net,
    origin,
    reached,
    say_limits,
    say_point,
    warn_of_result,
)
from edgecell.tasks.disputed import disputed_images
from edgecell.tasks.file_lock import locked
from edgecell.tasks.training import Teller, TrainingProgress, write_run_report
from edgecell.tasks.training_images import open_images
from edgecell.tasks.training_request import refuse_twice
from edgecell_export.conversion_process import ConversionProcess
from edgecell_runtime.errors import TrainingError, UsageError
from edgecell_runtime.files import check_folder, storage_errors
from edgecell_runtime.labelled import LabelledImages
from edgecell_train import checkpoints
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.measuring import Meter
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
            if search.diverged:
                raise diverged(folder, search)
            write_search(folder, search)  # with table and plot, which a full disk may have kept
            console.say(f"Going on with {console.shown(folder)} after {reached(search)}.")
        place = folder.parent / folder.name.removesuffix(SUFFIX)
        with _kept(folder, is_new=not request.resume):
            search = _carried_out(folder, search, place)
        if search.result is None:
            raise no_net(folder, search)
        if note := point_latest(place):
            console.warn(note)
    shutil.rmtree(folder, ignore_errors=True)
    return Compressed(find_run(place), search)


def _carried_out(folder: Path, search: Search, place: Path) -> Search:
    """Does what is left of a compression, until its run is in its place or no net was found.

    Raises:
        EdgecellError: See ``compress``.
    """
    whole = folder / place.name
    if not (place / RECORD).is_file():
        if not (whole / RECORD).is_file():
            run = find_run(Path(search.source))
            search = _search_and_train(folder, run, search, whole.name)
        if search.result is not None:
            with storage_errors(place):
                whole.replace(place)
    return search


def _search_and_train(folder: Path, run: Run, search: Search, name: str) -> Search:
    """Goes on with a search, and makes its run in its folder if it finds a net.

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
        say_limits(search.limits, len(work.part("validation")))
        if search.result is None:
            search = _fine_tuned(folder, run, search, work, watcher)
        if search.result is None:  # nothing is tested then
            return search
        warn_of_result(search.result)
        net = start_of(folder, search, search.result.step)

        def report(made: Run, images: LabelledImages, model: KerasModel) -> None:
            _add_search(folder, made, search, net)
            write_run_report(made, images, model, _Teller())

        job = dataclasses.replace(
            job,
            preset=preset_of(search, run.record, net),
            notes=(origin(run, search, net),),
            keeps_start=search.result.kind == "step",
        )
        unfinished = _final_training(folder, search, search.result.step, work)
        train(images, job, folder, watcher, unfinished, report)
    return search


def _fine_tuned(
    folder: Path, run: Run, search: Search, work: Work, watcher: TrainingProgress
) -> Search:
    """Searches, and fine-tunes what was found to its end; the training's state stays.

    A net that came to its end before is measured anew, as its latency may have been chance.
    """
    if search.finals and not search.finals[-1].problem:
        search = dataclasses.replace(search, points=search.points[:-1])
    source, evidence = run.source_model().model, run.evidence(work.images)
    with (
        ConversionProcess(warm=True) as process,
        contextlib.closing(
            Meter(source, run.record, evidence, work.part("validation"), process)
        ) as meter,
    ):
        searcher = Searcher(folder, run, work, meter, watcher)
        while search.result is None and not search.has_failed:
            search, chosen = _searched(searcher, search)
            if chosen is None:
                break
            unfinished = _final_training(folder, search, chosen.step, work)
            try:
                search = searcher.finish(search, chosen.step, unfinished)
            finally:
                unfinished.release()
            say_point(search.points[-1])
    return search


def _searched(searcher: Searcher, search: Search) -> tuple[Search, Point | None]:
    """Goes on step by step until a net is worth the final fine-tuning; None where none is.

    Raises:
        UsageError: The source meets the limits already.
    """
    if not search.points:
        search = searcher.begin(search)
    source, limits = search.points[0], search.limits
    if limits.has_costs and limits.meets_costs(source) and not source.problem:
        raise UsageError(
            f"The run meets the limits as it is: as int8 TFLite it takes {source.words()}. Export "
            "it with --quantize int8, or ask for less."
        )
    while (chosen := chosen_step(search)) is None and not search.exhausted:
        search = searcher.step(search)
        if not search.exhausted:
            say_point(search.points[-1])
    return search, chosen


def _final_training(folder: Path, search: Search, step: int, work: Work) -> Unfinished:
    """Where the state of a step's final training is, of which every epoch is kept."""
    name = f"{search.name}-step-{step}"
    begun = list(folder.glob(f"{checkpoints.PREFIX}*-{name}/{checkpoints.RECORD}"))
    if begun:
        unfinished = checkpoints.find_unfinished(str(begun[0].parent), folder)
    else:
        record = UnfinishedRecord(name, search.config, work.decoded.data_sha256, work.images.labels)
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


@contextlib.contextmanager
def _kept(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Says how a compression that was left goes on; leaves no new one that had found nothing."""
    try:
        yield
    except TrainingError as error:  # it would come again
        search = dataclasses.replace(read_search(folder), diverged=str(error))
        write_search(folder, search)
        raise diverged(folder, search) from error
    except BaseException:
        if is_new and not any(folder.glob("step-*.keras")):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            shown = console.shown(folder)
            console.say(
                f"The compression was left in {shown}; go on with: edgecell compress --resume "
                f"{shown}"
            )
        raise
