"""Cross-validations as the command ``train`` runs them: one training a fold, and what they say.

A folder holds the options, the run of each finished fold, and, in the hidden ``.fold-N``, the one
that is trained. A fold is finished when its run has its name; all are when there is a result.
"""

import contextlib
import dataclasses
import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.tasks import training
from edgecell.tasks.cross_validating_tables import summary
from edgecell.tasks.file_lock import locked
from edgecell.tasks.training import Asked, Request, Teller
from edgecell.tasks.training_images import open_images
from edgecell.tasks.training_request import resolve
from edgecell_export.card import figures
from edgecell_export.tensorflow import import_keras
from edgecell_runtime import codec
from edgecell_runtime.errors import RunError, StorageError, TrainingError, UsageError
from edgecell_runtime.files import check_folder, replacing, storage_errors, write_text
from edgecell_runtime.manifest import Evaluation
from edgecell_train import checkpoints
from edgecell_train.checkpoints import Unfinished, UnfinishedRecord
from edgecell_train.config import TrainConfig
from edgecell_train.config_checks import check
from edgecell_train.config_files import CONFIG, toml_text
from edgecell_train.cross_validation import (
    RESULT,
    CrossValidation,
    find_fold,
    fold_config,
    fold_name,
    is_cross_validation,
    pool,
    require_options,
    stored_config,
)
from edgecell_train.runs import RECORD, Run, find_run
from edgecell_train.split import check_folds

SUMMARY: Final = "cross-validation.md"
_STAMP: Final = len("20250101-000000")


@dataclass(frozen=True)
class Folds:
    """A cross-validation that is asked for.

    Attributes:
        config: Every option.
        runs: Folder of runs.
        folder: The unfinished one that goes on; None begins one.
        cache: Whether decoded images are kept for the next training.
    """

    config: TrainConfig
    runs: Path
    folder: Path | None = None
    cache: bool = True


@dataclass(frozen=True)
class Validated:
    """A finished cross-validation, and where it is."""

    folder: Path
    result: CrossValidation


class _FoldTeller(Teller):
    """Says of which fold it speaks, and what holds for all of them once."""

    def __init__(self) -> None:
        self.prefix = ""
        self._told: set[str] = set()

    def stage(self, name: str) -> str:
        return f"{self.prefix}: {name}"

    def note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            super().note(text)

    def left(self, folder: Path) -> None:
        """The cross-validation says how it goes on."""


def folds_asked(request: Request, runs: Path) -> Folds | None:
    """The cross-validation that a request asks for; None where it asks for one training.

    Raises:
        EdgecellError: The options make no sense, or differ from those that it began with.
    """
    if request.resume:
        folder = _unfinished(request.resume, runs)
        if folder is None:
            return None
        config = stored_config(folder)
        training.require_same_options(folder, config, request)
        return Folds(config, folder.parent, folder, request.cache)
    config = resolve(request)
    if not config.folds or config.fold:
        return None
    training.say_recipe(request, config)
    return Folds(config, runs, cache=request.cache)


def cross_validate(folds: Folds) -> Validated:
    """Trains and tests every fold that is not finished yet, and sums up.

    Raises:
        EdgecellError: The images, the options or the disk do not allow it; finished folds are kept.
    """
    check(folds.config)
    check_folder(folds.runs)
    if not folds.config.data:
        console.say(training.DRAWN)
    folder = folds.folder or _begin(folds)
    with locked(folder), _kept(folder, folds.config):
        if folds.folder is not None:
            done = len(_finished(folder, folds.config))
            console.say(f"Going on with {console.shown(folder)}, {_of(done, folds.config)}.")
        teller = _FoldTeller()
        for number in range(1, folds.config.folds + 1):
            if find_fold(folder, folds.config, number) is None:
                _train_fold(folder, number, folds, teller)
        runs = _finished(folder, folds.config)
        result = pool(runs, folds.config)
        training.say_what_to_know(runs[0], teller)
        write_text(folder / SUMMARY, summary(result))
        write_text(folder / RESULT, codec.dumps(result, indent=2) + "\n")
    return Validated(folder, result)


def _begin(folds: Folds) -> Path:
    """Checks all that can be checked without reading an image, and makes the folder.

    Raises:
        EdgecellError: There are too few patients, or the folder cannot be made.
    """
    config = folds.config
    with open_images(config, folds.runs) as images:
        name = training.preset_of(config, len(images.labels)).name
        found = list(images)
        check_folds(
            [image.label for image in found],
            [image.patient for image in found],
            config.seed,
            [image.part for image in found],
            config.split,
            config.folds,
        )
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    folder = wanted = folds.runs / f"{stamp}-{name}-{config.folds}-folds"
    number = 2
    while folder.exists():
        folder = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / CONFIG).write_text(toml_text(config), encoding="utf-8")
    return folder


def _train_fold(folder: Path, number: int, folds: Folds, teller: _FoldTeller) -> None:
    """Trains one fold, or goes on with it, and gives its run its name at the very end."""
    inside, config = folder / f".{fold_name(number)}", fold_config(folds.config, number)
    teller.prefix = f"Fold {number} of {config.folds}"
    import_keras().utils.clear_session()  # the net of the fold before
    named = inside / fold_name(number)
    run = _trained(inside)
    if run is None:
        unfinished = _fold_unfinished(inside, folder, config)
        asked = Asked(config, unfinished, folds.cache, fold_name(number))
        run = training.train_asked(asked, inside, teller)
    require_options(run, config)
    with storage_errors(named):
        named.replace(folder / fold_name(number))
    shutil.rmtree(inside, ignore_errors=True)
    console.say(f"{teller.prefix}: {_short(run.record.evaluation)}")


def _trained(inside: Path) -> Run | None:
    """A run whose training has ended, but that was not given its name."""
    found = [path.parent for path in inside.glob(f"*/{RECORD}")]
    whole = [path for path in found if not path.name.startswith(".") and not path.is_symlink()]
    return find_run(whole[0]) if whole else None


def _fold_unfinished(inside: Path, folder: Path, config: TrainConfig) -> Unfinished | None:
    """What a fold's training goes on from; held to the images of the first fold.

    Raises:
        RunError: It is damaged, or was begun with other options.
    """
    if any(inside.glob(f"{checkpoints.PREFIX}*/{checkpoints.RECORD}")):
        unfinished = checkpoints.find_unfinished("latest", inside)
        if unfinished.record.config == config:
            return unfinished
        unfinished.release()
        raise RunError(
            f"{unfinished.folder} was begun with other options than {folder / CONFIG} has. Remove "
            f"{inside}, so that the fold is trained again."
        )
    runs = _finished(folder, config)
    if not runs:
        return None
    first = runs[0].record
    record = UnfinishedRecord(first.preset, config, first.data.sha256, first.labels)
    return checkpoints.begin(inside, record)


def _finished(folder: Path, config: TrainConfig) -> list[Run]:
    plain = dataclasses.replace(config, fold=0)
    found = (find_fold(folder, plain, number) for number in range(1, config.folds + 1))
    return [run for run in found if run is not None]


@contextlib.contextmanager
def _kept(folder: Path, config: TrainConfig) -> Iterator[None]:
    """Says how a cross-validation that was left goes on; leaves none that had not begun."""
    try:
        yield
    except BaseException as error:
        kept = (f"*/{RECORD}", f".fold-*/*/{RECORD}", f".fold-*/*/{checkpoints.RECORD}")
        if not any(any(folder.glob(pattern)) for pattern in kept):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        done = sum((folder / fold_name(number)).is_dir() for number in range(1, config.folds + 1))
        shown = console.shown(folder)
        # Diverged, it would diverge again.
        how = (
            ""
            if isinstance(error, TrainingError)
            else f"; go on with: edgecell train --resume {shown}"
        )
        console.say(f"The cross-validation was left in {shown}, {_of(done, config)}{how}")
        raise


def _unfinished(wanted: str, runs: Path) -> Path | None:
    """The unfinished cross-validation that ``--resume`` names; None where it names no such one.

    Raises:
        UsageError: It is finished.
    """
    if wanted == "latest":
        return _newest(runs)
    for folder in (Path(wanted), runs / wanted):
        if is_cross_validation(folder):
            if (folder / RESULT).exists():
                raise UsageError(
                    f"--resume {wanted}: this cross-validation is finished; expected one that was "
                    f"interrupted. Repeat it with --config {folder / CONFIG}."
                )
            return folder
    return None


def _newest(runs: Path) -> Path | None:
    """The newest unfinished cross-validation; None where a single training is newer.

    What another process trains counts only where there is nothing else.
    """
    folders = sorted(
        (
            path.parent
            for path in runs.glob(f"*-folds*/{CONFIG}")
            if is_cross_validation(path.parent) and not (path.parent / RESULT).exists()
        ),
        reverse=True,
    )
    single = checkpoints.newest_free(runs)
    for folder in folders:
        if folder.name[:_STAMP] < single[:_STAMP]:
            return None
        with contextlib.suppress(StorageError), locked(folder):
            return folder
    return folders[0] if folders and not single else None


def _short(evaluation: Evaluation) -> str:
    shown = figures(evaluation)[:4]
    return ", ".join(f"{name} {one.value:.3f}" for name, one in shown)


def _of(done: int, config: TrainConfig) -> str:
    return f"with {done} of {config.folds} folds finished"
