"""Labelled images in an HDF5 file, and opening a set of any kind.

Which arrays are images and labels: see ``edgecell_runtime.array_sets``. Only what lies in the file
itself is read: links are not followed, and arrays whose values are in other files are refused.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.array_images import MAX_HELD_BYTES, MAX_LABEL_BYTES
from edgecell_runtime.array_labels import ArrayInfo
from edgecell_runtime.errors import DataError, MissingPartError
from edgecell_runtime.labelled import LabelledImages, labelled_rows, open_labelled
from edgecell_runtime.printable import printable_name
from edgecell_runtime.stored_images import stamp_of

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
MAX_ARRAYS: Final = 10_000


def open_data(
    path: Path, *, patients: Path | None = None, minimum_labels: int = 2
) -> LabelledImages:
    """Opens a set of labelled images of any kind: HDF5, or what ``open_labelled`` opens.

    Args:
        path: A folder of class folders, a zip of one, an ``.npz`` or an HDF5 file.
        patients: A CSV that names each image's patient; see ``edgecell_runtime.image_tables``.
        minimum_labels: How many classes there must be.

    Returns:
        The open set, to be closed, or used in a ``with`` statement.

    Raises:
        DataError: It is no such set, it is damaged or refused, it has too few classes, or its
            patients contradict each other.
        MissingPartError: It is HDF5, and h5py is not installed.
    """
    if _is_hdf5(path):
        return labelled_rows(Hdf5File(path), patients=patients, minimum_labels=minimum_labels)
    return open_labelled(path, patients=patients, minimum_labels=minimum_labels)


class Hdf5File:
    """An open HDF5 file; see ``edgecell_runtime.array_images.ArrayFile``."""

    def __init__(self, location: Path) -> None:
        """Opens the file and lists its arrays.

        Raises:
            DataError: It is damaged, or holds too much to be a set of images.
            MissingPartError: h5py is not installed.
        """
        try:
            h5py: Any = importlib.import_module("h5py")  # it has no types
        except ImportError as error:
            raise MissingPartError(
                f"{location} is an HDF5 file, which h5py reads, and h5py is not installed. "
                "Install it with: pip install 'edgecell[train]'"
            ) from error
        self._location = location
        try:
            self._status = location.stat()
            self._file = h5py.File(location, "r")
        except Exception as error:  # h5py raises of every kind on damaged files
            raise DataError(
                f"{location} cannot be opened as HDF5: {_reason(error)}. If it is damaged, "
                "download or copy it again."
            ) from error
        try:
            self._sets = self._find(h5py)
        except BaseException:
            self._file.close()
            raise

    @property
    def location(self) -> Path:
        """The file."""
        return self._location

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]:
        """What it holds, by name; nested ones with ``/``."""
        return {name: ArrayInfo(found.shape, found.dtype) for name, found in self._sets.items()}

    def read(self, name: str) -> NDArray[Any]:
        """Reads a whole array, such as labels; see ``NamedArrays``."""
        return self._whole(name, MAX_LABEL_BYTES)

    def rows(self, name: str) -> NDArray[Any]:
        """See ``ArrayFile``: mapped where it lies in one piece, else held if it is not too large.

        One that is larger and in pieces is read row by row, which unpacks a piece each time.
        """
        found = self._inside(name)
        offset = found.id.get_offset()
        plain = found.dtype.isbuiltin == 1 and found.dtype.isnative
        if offset is not None and found.chunks is None and plain:
            try:
                mapped = np.memmap(self._location, found.dtype, "r", offset, found.shape)
            except (OSError, ValueError) as error:
                raise self._damaged(name, error) from error
            return mapped.view(np.ndarray)
        if found.nbytes <= MAX_HELD_BYTES:
            return self._whole(name, MAX_HELD_BYTES)
        rows: NDArray[Any] = found  # it is indexed by row like an array
        return rows

    def stamp(self) -> str:
        """See ``ImageStore``."""
        return stamp_of([(os.fspath(self._location.absolute()), self._status)])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _find(self, h5py: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                found[name] = item
            if len(found) > MAX_ARRAYS:
                raise DataError(
                    f"{self._location} holds more than {MAX_ARRAYS:,} arrays; expected one of "
                    "images and one of labels. Save them so."
                )

        try:
            self._file.visititems(visit)  # links, also those to other files, are not followed
        except DataError:
            raise
        except Exception as error:
            raise self._damaged("its list of arrays", error) from error
        return found

    def _inside(self, name: str) -> Any:
        found = self._sets[name]
        if found.is_virtual or found.external:
            raise DataError(
                f"{printable_name(name)} in {self._location} says that its values are in other "
                "files, which are not read; expected a file that holds its own. Copy them into one."
            )
        return found

    def _whole(self, name: str, most: int) -> NDArray[Any]:
        found = self._inside(name)
        if found.nbytes > most:
            raise DataError(
                f"{printable_name(name)} in {self._location} has {found.nbytes:,} bytes; up to "
                f"{most:,} are read at once. Split the set."
            )
        try:
            values = np.asarray(found[()])
        except Exception as error:
            raise self._damaged(name, error) from error
        if values.dtype == object and not all(isinstance(v, str | bytes) for v in values.flat):
            raise DataError(
                f"{printable_name(name)} in {self._location} holds neither numbers nor words; "
                "expected one of them an image."
            )
        return values

    def _damaged(self, name: str, error: Exception) -> DataError:
        return DataError(
            f"{printable_name(name)} in {self._location} cannot be read: {_reason(error)}. If the "
            "file is damaged, download or copy it again."
        )


def _is_hdf5(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False  # open_labelled says why


def _reason(error: Exception) -> str:
    return printable_name((str(error).strip().splitlines() or [type(error).__name__])[0][:200])
