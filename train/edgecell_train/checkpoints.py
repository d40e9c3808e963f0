"""Unfinished trainings: what they leave at every epoch's end, so that they can go on.

Beside the runs lies ``.unfinished-<time>-<preset>/`` while a training lasts: ``unfinished.json``
says what is trained on what, ``state.npz`` holds the weights and the optimiser's state as they were
at the end of an epoch. Everything random follows from the seed and the epoch, so that nothing else
has to be kept. Both are replaced as wholes.
"""

import datetime
import importlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError, RunError
from edgecell_runtime.files import replacing, storage_errors
from edgecell_train.config import TrainConfig
from edgecell_train.history import EpochRecord

PREFIX: Final = ".unfinished-"
RECORD: Final = "unfinished.json"
STATE: Final = "state.npz"
EVERY_S: Final = 20.0
"""Writing a large net's state at every epoch of few images would take longer than training them."""

_LOCK: Final = "lock"
_HISTORY: Final = "history"


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


@dataclass(frozen=True)
class TrainingState:
    """A training at the end of an epoch.

    Attributes:
        history: Its epochs so far.
        weights: Of the model, in Keras's order, with the averages as the steps left them.
        kept: Those of the epoch that would be kept if training ended here.
        optimizer: The optimiser's variables, in Keras's order.
    """

    history: tuple[EpochRecord, ...]
    weights: list[NDArray[np.generic]]
    kept: list[NDArray[np.generic]]
    optimizer: list[NDArray[np.generic]]


@dataclass(frozen=True)
class _History:
    epochs: tuple[EpochRecord, ...]


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

    def load(self) -> TrainingState | None:
        """The last state; None where the first one was not reached.

        Raises:
            RunError: It is damaged.
        """
        path = self.folder / STATE
        if not self.has_state:
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                history = codec.loads(_History, arrays[_HISTORY].tobytes(), STATE).epochs
                groups = [
                    [arrays[name] for name in sorted(arrays.files) if name.startswith(f"{group}/")]
                    for group in ("weights", "kept", "optimizer")
                ]
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            zipfile.BadZipFile,
            ManifestError,
        ) as error:
            raise RunError(
                f"{path} is damaged ({error}); the training cannot go on from it. Remove "
                f"{self.folder} and train again."
            ) from error
        return TrainingState(history, *groups)

    def is_due(self) -> bool:
        """Whether the next state is to be written."""
        return self._written is None or self.clock() - self._written >= self.every_s

    def save(self, state: TrainingState) -> None:
        """Replaces the state.

        Raises:
            StorageError: It could not be written; the one before it stays.
        """
        history = codec.dumps(_History(state.history)).encode()
        arrays = {_HISTORY: np.frombuffer(history, np.uint8)}
        for group in ("weights", "kept", "optimizer"):
            for index, array in enumerate(getattr(state, group)):
                arrays[f"{group}/{index:06}"] = array
        with replacing(self.folder / STATE) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        self._written = self.clock()

    def remove(self) -> None:
        """Removes the folder: the training has come to its end."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

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
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    folder = runs / f"{PREFIX}{stamp}-{record.name}"
    number = 2
    while folder.exists():
        folder = runs / f"{PREFIX}{stamp}-{record.name}-{number}"
        number += 1
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / RECORD).write_text(codec.dumps(record, indent=2), encoding="utf-8")
    return Unfinished(folder, record)


def find_unfinished(wanted: str, runs: Path) -> Unfinished:
    """The unfinished training of a folder, or the newest in ``runs`` for ``latest``.

    Raises:
        RunError: There is none, it is damaged, or another process trains it.
    """
    if wanted == "latest":
        found = sorted(path.parent for path in runs.glob(f"{PREFIX}*/{RECORD}"))
        if not found:
            raise RunError(
                f"There is no unfinished training in {runs}; expected one that was interrupted. A "
                "finished one leaves none: repeat it with --config RUN/config.toml."
            )
        folder = found[-1]
    else:
        folder = Path(wanted)
        if not (folder / RECORD).is_file() and (runs / wanted / RECORD).is_file():
            folder = runs / wanted
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


def _lock(folder: Path) -> int | None:
    """Holds a folder for this process, however that ends; None where there are no such locks."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ModuleNotFoundError:
        return None
    with storage_errors(folder):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunError(
            f"{folder} is being trained by another edgecell; expected one that was interrupted. "
            "Wait for it, or stop it first."
        ) from error
    except OSError:  # some network shares have no locks
        os.close(descriptor)
        return None
    return descriptor
