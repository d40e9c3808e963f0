"""A training at the end of an epoch, as one file."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError, RunError
from edgecell_runtime.files import replacing
from edgecell_train.history import EpochRecord

_HISTORY: Final = "history"
_GROUPS: Final = ("weights", "kept", "optimizer")


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


def read_state(path: Path) -> TrainingState:
    """Reads a state.

    Raises:
        RunError: It is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            history = codec.loads(_History, arrays[_HISTORY].tobytes(), path.name).epochs
            groups = [
                [arrays[name] for name in sorted(arrays.files) if name.startswith(f"{group}/")]
                for group in _GROUPS
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ManifestError) as error:
        raise RunError(
            f"{path} is damaged ({error}); the training cannot go on from it. Remove "
            f"{path.parent} and train again."
        ) from error
    return TrainingState(history, *groups)


def write_state(path: Path, state: TrainingState) -> None:
    """Replaces a state.

    Raises:
        StorageError: It could not be written; the one before it stays.
    """
    history = codec.dumps(_History(state.history)).encode()
    arrays = {_HISTORY: np.frombuffer(history, np.uint8)}
    for group in _GROUPS:
        for index, array in enumerate(getattr(state, group)):
            arrays[f"{group}/{index:06}"] = array
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
