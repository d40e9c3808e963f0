"""Unfinished trainings: what they leave at every epoch's end, so that they can go on.

Beside the runs lies ``.unfinished-<time>-<preset>/`` while a training lasts: ``unfinished.json``
says what is trained on what, ``state.npz`` holds the weights and the optimiser's state as they were
at the end of an epoch, ``tuning.npz`` likewise of a fine-tuning behind it. Everything random
follows from the seed and the epoch, so that nothing else has to be kept. All are replaced as
wholes. ``run`` names the run that is about to be put beside it, so that a training which is
interrupted just then is not written a second time.
"""

import contextlib
import datetime
import importlib
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError, RunError, StorageError
from edgecell_runtime.files import adding, replacing, storage_errors
from edgecell_train.config import TrainConfig
from edgecell_train.training_state import TrainingState, read_state, write_state

__all__ = [
    "TrainingState",
    "Unfinished",
    "UnfinishedRecord",
    "begin",
    "find_unfinished",
    "newest_free",
]

PREFIX: Final = ".unfinished-"
RECORD: Final = "unfinished.json"
STATE: Final = "state.npz"
TUNING_STATE: Final = "tuning.npz"
RUN: Final = "run"
REMOVED: Final = ".removed-"

_HALF_WRITTEN: Final = re.compile(r"\.(?:drawing|\.?(?:unfinished-)?\d{8}-\d{6}-.+)\.[a-z0-9_]{8}")
"""Temporary folders of runs, of their states and of drawn cells, as ``tempfile`` names them."""

_DAY_S: Final = 86_400
"""What the names of folders begin with that nobody needs; the next training sweeps them away."""

REST_BYTES: Final = 16 << 20
"""Room for what a run holds besides its model: tables, plots, the report."""

EVERY_S: Final = 20.0
"""Writing a large net's state at every epoch of few images would take longer than training them."""

_LOCK: Final = "lock"

Stage = Literal["fitting", "fine-tuning"]
"""What a training does; a fine-tuning begins with what the fitting ended with."""

_STATES: Final[Mapping[Stage, str]] = {"fitting": STATE, "fine-tuning": TUNING_STATE}


@dataclass(frozen=True)
class UnfinishedRecord:
    """What is trained.

    Attributes:
        name: Of the run: the preset's, or that of the user's own model.
        config: Every option.
        data_sha256: Of the images.
        labels: Theirs.
    """

    name: str
    config: TrainConfig
    data_sha256: str
    labels: tuple[str, ...]


class _HeldError(RunError):
    """Another process trains it."""


@dataclass
class Unfinished:
    """The folder of an unfinished training, held by this process.

    Attributes:
        folder: Where it is.
        record: What is trained.
        every_s: At least so many seconds pass between two states.
        clock: Gives seconds.
    """

    folder: Path
    record: UnfinishedRecord
    every_s: float = EVERY_S
    clock: Callable[[], float] = time.monotonic
    _lock: int | None = field(default=None, init=False)
    _written: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._lock = _lock(self.folder)

    @property
    def has_state(self) -> bool:
        """Whether there is an epoch to go on from."""
        return (self.folder / STATE).exists()

    @property
    def state_bytes(self) -> int:
        """How large the last state is; 0 where there is none."""
        try:
            return (self.folder / STATE).stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def epochs(self) -> int:
        """How many epochs there are to go on from.

        Raises:
            RunError: A state is damaged.
        """
        states = [self.load(stage) for stage in _STATES]
        return sum(len(state.history) for state in states if state is not None)

    @property
    def run_name(self) -> str:
        """Of the run that was about to be put beside it; empty where none was."""
        try:
            return Path((self.folder / RUN).read_text(encoding="utf-8")).name
        except (OSError, UnicodeDecodeError):
            return ""

    def name_run(self, name: str) -> None:
        """Notes the name of the run that is put beside it next.

        Raises:
            StorageError: It could not be written.
        """
        with replacing(self.folder / RUN) as temporary:
            temporary.write_text(name, encoding="utf-8")

    def require_room(self, state_bytes: int, model_bytes: int) -> None:
        """Finds out before the training whether the disk takes what it will write.

        That is its state, which is replaced, and so lies there twice for a moment, the run's model,
        and ``REST_BYTES``. What lies there already is not counted.

        Args:
            state_bytes: Of one state: the weights, those that are kept, the optimiser's variables.
            model_bytes: Of the run's model.

        Raises:
            StorageError: There is less room.
        """
        needed = 2 * state_bytes - self.state_bytes + model_bytes + REST_BYTES
        with storage_errors(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise StorageError(
                f"{self.folder.parent} has {_megabytes(free)} free, and this training writes up to "
                f"{_megabytes(needed)} there: its state, twice while it is replaced, and the "
                "model. Make room, or choose another folder with --out."
            )

    def load(self, stage: Stage = "fitting") -> TrainingState | None:
        """The last state of a stage; None where its first one was not reached.

        Raises:
            RunError: It is damaged.
        """
        path = self.folder / _STATES[stage]
        return read_state(path) if path.exists() else None

    def is_due(self) -> bool:
        """Whether the next state is to be written."""
        return self._written is None or self.clock() - self._written >= self.every_s

    def save(self, state: TrainingState, stage: Stage = "fitting") -> None:
        """Replaces the state of a stage.

        Raises:
            StorageError: It could not be written; the one before it stays.
        """
        write_state(self.folder / _STATES[stage], state)
        self._written = self.clock()

    def remove(self) -> None:
        """Removes the folder: the training has come to its end.

        Under another name first, so that nobody finds it half removed.
        """
        aside = self.folder.with_name(f"{REMOVED}{self.folder.name.removeprefix('.')}")
        with contextlib.suppress(OSError):
            self.folder.rename(aside)
        self.release()
        for folder in (aside, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def release(self) -> None:
        """Lets another process go on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def begin(runs: Path, record: UnfinishedRecord) -> Unfinished:
    """Makes the folder of a training that begins.

    Raises:
        StorageError: It could not be made.
    """
    _sweep(runs)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    first = runs / f"{PREFIX}{stamp}-{record.name}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    tried = [first]
    with adding(itertools.chain([first], others), tried.append) as temporary:
        temporary.mkdir()
        (temporary / RECORD).write_text(codec.dumps(record, indent=2), encoding="utf-8")
    return Unfinished(tried[-1], record)


def _sweep(runs: Path) -> None:
    """Removes what ended processes left: half removed, and half written a day ago or before."""
    for left in runs.glob(f"{REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in runs.glob(".*"):
        with contextlib.suppress(OSError):
            if _HALF_WRITTEN.fullmatch(left.name) and time.time() - left.stat().st_mtime > _DAY_S:
                shutil.rmtree(left, ignore_errors=True)


def find_unfinished(wanted: str, runs: Path) -> Unfinished:
    """The unfinished training of a folder, or the newest that nobody trains for ``latest``.

    Args:
        wanted: A folder, its name in ``runs``, or ``latest``.
        runs: Folder of runs.

    Raises:
        RunError: There is none, it is damaged, or another process trains it.
    """
    if wanted != "latest":
        folder = Path(wanted)
        if not (folder / RECORD).is_file() and (runs / wanted / RECORD).is_file():
            folder = runs / wanted
        return _opened(folder)
    found = sorted((path.parent for path in runs.glob(f"{PREFIX}*/{RECORD}")), reverse=True)
    if not found:
        raise RunError(
            f"There is no unfinished training in {runs}; expected one that was interrupted. A "
            "finished one leaves none: repeat it with --config RUN/config.toml."
        )
    for folder in found:
        with contextlib.suppress(_HeldError):
            return _opened(folder)
    return _opened(found[0])  # which says that it is held


def newest_free(runs: Path) -> str:
    """The name of what ``latest`` finds, without its prefix; empty where there is none.

    Raises:
        RunError: It is damaged.
    """
    if not any(runs.glob(f"{PREFIX}*/{RECORD}")):
        return ""
    try:
        found = find_unfinished("latest", runs)
    except _HeldError:
        return ""
    found.release()
    return found.folder.name.removeprefix(PREFIX)


def _opened(folder: Path) -> Unfinished:
    path = folder / RECORD
    if not path.is_file():
        raise RunError(
            f"{folder} is no unfinished training; expected a folder {PREFIX}..., which lies beside "
            "the runs while a training lasts, or latest."
        )
    try:
        record = codec.loads(UnfinishedRecord, path.read_bytes(), RECORD)
    except (ManifestError, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {error} Remove {folder} and train again."
        ) from error
    return Unfinished(folder, record)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _lock(folder: Path) -> int | None:
    """Holds a folder for this process, however that ends; None where there are no such locks."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ModuleNotFoundError:
        return None
    try:
        with storage_errors(folder):
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except StorageError as error:
        if folder.exists():
            raise
        raise _HeldError(f"{folder} was just brought to its end by another edgecell.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise _HeldError(
            f"{folder} is being trained by another edgecell; expected one that was interrupted. "
            "Wait for it, or stop it first."
        ) from error
    except OSError:  # some network shares have no locks
        os.close(descriptor)
        return None
    return descriptor
