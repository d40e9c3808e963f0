"""Labels that lie in an array: words, whole numbers or one-hot rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError
from edgecell_runtime.printable import printable_name

MAX_ROWS: Final = 2_000_000


@dataclass(frozen=True)
class ArrayInfo:
    """What an array is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class NamedArrays(Protocol):
    """An open file of arrays."""

    @property
    def location(self) -> Path:
        """The file."""

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]:
        """What it holds, by name; nested ones with ``/``."""

    def read(self, name: str) -> NDArray[Any]:
        """Reads a whole array, such as labels.

        Raises:
            DataError: It cannot be read, or is damaged.
        """


def read_labels(file: NamedArrays, key: str, names: Sequence[str] | None) -> list[str]:
    """Reads the label of each row.

    Args:
        file: The open file.
        key: An array of words (one a row), whole numbers from 0 on, or one-hot rows.
        names: Of the labels that numbers stand for; None writes the numbers themselves.

    Raises:
        DataError: It holds none of these.
    """
    info = file.arrays[key]
    where = f"{printable_name(key)} in {file.location}"
    if info.dtype.kind in "USOT":
        texts = read_texts(file, key)
    else:
        texts = _named(_numbers(file.read(key), where), names, where)
    wrong = next((text for text in texts if not text or "/" in text), None)
    if wrong is not None:
        raise DataError(f"{where} has the label {wrong!r}; expected words without a slash.")
    return texts


def _numbers(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Labels as whole numbers, from numbers of any dtype or one-hot rows."""
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim == 2 and array.shape[1] > 1:
        if not (((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()):
            raise DataError(
                f"{where} has several columns that are not one-hot (a single 1 a row); expected "
                "one label an image. Sets with several labels an image are not supported."
            )
        return np.asarray(array.argmax(axis=1), np.int64)
    whole = array.ndim == 1 and array.dtype.kind in "buif"
    if not whole or not ((array >= 0) & (array < MAX_ROWS) & (array == np.floor(array))).all():
        raise DataError(
            f"{where} is {array.dtype} of shape {array.shape}; expected a whole number from 0 on, "
            "a word or a one-hot row for each image."
        )
    return array.astype(np.int64)


def _named(numbers: NDArray[np.int64], names: Sequence[str] | None, where: str) -> list[str]:
    if names is None:
        return [str(number) for number in numbers.tolist()]
    if numbers.size and int(numbers.max()) >= len(names):
        raise DataError(
            f"{where} goes up to {int(numbers.max())}, but there are {len(names)} label names; "
            "expected one for each number from 0 on."
        )
    return [names[number] for number in numbers.tolist()]


def read_texts(file: NamedArrays, key: str) -> list[str]:
    """Words, or numbers written as words."""
    values = file.read(key).reshape(-1).tolist()
    texts = [v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else v for v in values]
    return [printable_name(str(text).strip()) for text in texts]
