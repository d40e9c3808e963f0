"""What a compression is asked for, and its folder: a new one, or one that goes on."""

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.tasks.file_lock import locked
from edgecell_runtime.errors import RunError, StorageError, UsageError
from edgecell_runtime.files import adding
from edgecell_train.compression.chain import read_chain
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.search import SEARCH, Search, read_search, write_search
from edgecell_train.compression.source import carried_on_config, fine_tuning, name_of
from edgecell_train.config_checks import check
from edgecell_train.config_files import Layer
from edgecell_train.runs import find_run

SUFFIX: Final = "-search"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        run: A run's folder; None takes the latest.
        limits: What the net may cost and lose; None in what goes on.
        layers: Options of the fine-tuning.
        data: Where the run's images are now.
        out: Folder of runs.
        resume: An unfinished compression's folder, or ``latest``; empty begins one.
    """

    run: Path | None
    limits: Limits | None
    layers: Sequence[Layer] = ()
    data: Path | None = None
    out: Path = Path("runs")
    resume: str = ""


def begin(request: Request) -> Path:
    """Checks all that can be checked before an image is read, and makes the folder.

    Raises:
        EdgecellError: The run cannot be compressed so.
    """
    limits = request.limits
    if limits is None:
        raise UsageError(
            "There is no limit to compress to; give one of --max-size 30kB, --max-latency 0.1ms, "
            "--max-macs 2M and --max-drop 0.3, or several."
        )
    run = find_run(request.run)
    config = fine_tuning(run, request.data, request.layers)
    check(config)
    if run.is_refit:
        raise UsageError(
            f"{run.folder} was trained on all images, so that none are left to judge a smaller net "
            "by; expected a run with a split, such as a fold of its cross-validation."
        )
    if run.record.preprocessing.depth is not None:
        raise UsageError("Nets of volumes cannot be compressed; expected one that takes images.")
    read_chain(run.source_model().model)
    search = Search(
        source=str(run.folder.resolve()),
        weights_sha256=run.record.weights_sha256,
        name=name_of(run),
        limits=limits,
        config=config,
    )
    tried: list[Path] = []
    with adding(_places(request.out, search.name), tried.append) as temporary:
        temporary.mkdir()
        write_search(temporary, search)
    return tried[-1]


def _places(out: Path, name: str) -> Iterator[Path]:
    """Where a search can be whose run finds a place too."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    first = out / f"{stamp}-{name}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    for place in itertools.chain([first], others):
        if not place.exists():
            yield place.with_name(f"{place.name}{SUFFIX}")


def find_unfinished(request: Request) -> Path:
    """The compression that ``--resume`` names.

    Raises:
        RunError: There is none.
    """
    if request.resume == "latest":
        return _newest(request.out)
    named = Path(request.resume)
    folder = named if named.is_dir() else request.out / named
    if not folder.name.endswith(SUFFIX) or not (folder / SEARCH).is_file():
        raise RunError(
            f"{folder} is no unfinished compression; expected a folder ...{SUFFIX}, which lies "
            "beside the runs while a compression lasts, or latest."
        )
    return folder


def carried_on(search: Search, request: Request) -> Search:
    """A search that goes on, with its source and its images where they are now.

    Raises:
        RunError: Its source is not there any more, or is another.
        UsageError: It was begun with other limits or options.
    """
    if request.limits is not None and request.limits != search.limits:
        raise UsageError(
            f"The compression was begun with other limits ({search.limits.words()}), and goes on "
            "with those. Leave them out, or begin anew without --resume."
        )
    if request.run is None and not Path(search.source).is_dir():
        raise RunError(
            f"{search.source}, the run that is compressed, is not there any more; name it where it "
            f"is now: edgecell compress RUN --resume {request.resume}"
        )
    run = find_run(request.run or Path(search.source))
    if run.record.weights_sha256 != search.weights_sha256:
        raise RunError(
            f"{run.folder} is not the run that was compressed: its weights have another hash. Name "
            "that one, or begin anew without --resume."
        )
    data = request.data
    if data is None and request.run is None and search.config.data:
        data = Path(search.config.data)
    return dataclasses.replace(
        search,
        source=str(run.folder.resolve()),
        config=carried_on_config(search.config, search.source, run, data, request.layers),
    )


def _newest(runs: Path) -> Path:
    """The newest compression that nobody else carries on, and that did not end."""
    found = sorted((path.parent for path in runs.glob(f"*{SUFFIX}/{SEARCH}")), reverse=True)
    for folder in found:
        try:
            if read_search(folder).has_failed:
                continue
        except RunError as error:  # one that is damaged does not stand in the way of others
            console.warn(str(error))
            continue
        with contextlib.suppress(StorageError), locked(folder):
            return folder
    raise RunError(
        f"There is no unfinished compression in {runs}; expected one that was interrupted. Begin "
        "one without --resume."
    )
