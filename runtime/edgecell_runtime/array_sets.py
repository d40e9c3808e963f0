"""Labelled images that lie in a file as arrays: which array is what, and one row as one image.

Nothing here reads a file; ``array_images`` does it for NumPy's ``.npz``, and training for HDF5. The
pairs of arrays, in capitals or not (``/`` in the name of a nested array counts as ``_``):

1. ``x`` and ``y``, ``images`` and ``labels``, ``image`` and ``label``, ``data`` and ``labels``,
   ``label`` or ``target``, ``set_x`` and ``set_y``, with or without a part: ``x_train`` and
   ``y_train``, ``test_images`` and ``test_labels``, ``train_set_x`` and ``train_set_y``.
2. Names of the labels, if any: ``label_names``, ``classes``, ``class_names``, ``list_classes``.
3. Patients, if any: ``patients``, with the part where the pair has one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.array_labels import MAX_ROWS, NamedArrays, read_labels, read_texts
from edgecell_runtime.errors import DataError
from edgecell_runtime.images import MAX_SIDE, MIN_SIDE
from edgecell_runtime.printable import printable_name
from edgecell_runtime.set_parts import PART_WORDS, Part

_PAIRS: Final = (
    ("x", "y"),
    ("images", "labels"),
    ("image", "label"),
    ("data", "labels"),
    ("data", "label"),
    ("data", "target"),
    ("set_x", "set_y"),
)
_NAMES: Final = ("label_names", "classes", "class_names", "list_classes")
_PATIENTS: Final = ("patients", "patient", "patient_ids")


@dataclass(frozen=True)
class ArrayRows:
    """A pair of arrays, row by row.

    Attributes:
        key: Name of the array of images.
        part: What it is for; None where the set leaves that open.
        labels: Of each row.
        patients: Of each row, None where unknown.
    """

    key: str
    part: Part | None
    labels: tuple[str, ...]
    patients: tuple[str | None, ...]

    def names(self) -> Iterator[str]:
        """A name for each row, such as ``7/x_train-00012``."""
        digits = max(5, len(str(len(self.labels) - 1)))
        key = self.key.replace("/", "_")
        for row, label in enumerate(self.labels):
            yield f"{label}/{key}-{row:0{digits}}"


def find_rows(file: NamedArrays) -> tuple[list[ArrayRows], tuple[str, ...]]:
    """Finds the pairs of images and labels in a file of arrays, and reads the labels.

    Returns:
        The pairs, and sentences about what was ignored.

    Raises:
        DataError: It is not clear which arrays are meant, or they do not fit each other.
    """
    keys = _folded(file)
    pairs = _pairs(file, keys)
    names_key = _only(file, keys, _NAMES)
    names = None if names_key is None else read_texts(file, names_key)
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{names_key} in {file.location} names {printable_name(twice)} twice; expected a name "
            "of its own for each label."
        )
    used = {names_key, *(key for _, *of_pair in pairs for key in of_pair)}
    rows = []
    for part, images, labels in pairs:
        _check_images(file, images)
        spellings = [word for bare in _PATIENTS for word in _with_part(bare, part)]
        patients = _only(file, keys, spellings)
        used.add(patients)
        rows.append(_rows(file, (part, images, labels), names, patients))
    if len(rows) == 1 and rows[0].part == "training":  # then there is no part but this
        rows[0] = ArrayRows(rows[0].key, None, rows[0].labels, rows[0].patients)
    ignored = sorted(set(file.arrays) - used)
    noun = "array" if len(ignored) == 1 else "arrays"
    notes = [f"Ignored {len(ignored)} {noun}: {printable_name(', '.join(ignored)[:200])}."]
    return rows, tuple(notes if ignored else ())


def to_pixels(row: NDArray[Any]) -> NDArray[np.uint8]:
    """One row as an image.

    Args:
        row: (height, width) or (height, width, channels), whole numbers 0-255 of any dtype.

    Returns:
        uint8 (height, width, channels).
    """
    plain = np.asarray(row)
    pixels = plain if plain.dtype == np.uint8 else plain.astype(np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def check_values(blocks: Iterator[NDArray[Any]], where: str) -> None:
    """Refuses images of other numbers than uint8 unless all are whole numbers 0-255.

    Args:
        blocks: All values, some rows at a time.
        where: The file and array, for messages.

    Raises:
        DataError: They are not, or none is above 1, so that 0-1 may be meant.
    """
    highest = 0.0
    for block in blocks:
        if not ((block >= 0) & (block <= 255) & (block == np.floor(block))).all():
            raise DataError(
                f"{where} holds {block.dtype} values that are not whole numbers from 0 to 255; "
                "what they mean is not written in it. Bring them to 0-255, round them, and save "
                "them as uint8."
            )
        highest = max(highest, float(block.max(initial=0)))
    if highest <= 1:
        raise DataError(
            f"{where} holds no value above 1; expected 0 to 255, and 0 to 1 may be meant. Multiply "
            "by 255 and save as uint8, or save these very values as uint8."
        )


def _folded(file: NamedArrays) -> dict[str, str]:
    keys: dict[str, str] = {}
    for key in file.arrays:
        folded = key.casefold().replace("/", "_")
        if folded in keys:
            raise _unclear(file, f"{keys[folded]} and {key} differ in capitals only")
        keys[folded] = key
    return keys


def _pairs(file: NamedArrays, keys: Mapping[str, str]) -> list[tuple[Part | None, str, str]]:
    found: list[tuple[Part | None, str, str]] = []
    for part in (None, *PART_WORDS):
        of_part = {
            (keys[first], keys[second])
            for images, labels in _PAIRS
            for first, second in zip(
                _with_part(images, part), _with_part(labels, part), strict=True
            )
            if first in keys and second in keys
        }
        if len(of_part) > 1:
            pairs = " or ".join(f"{a} with {b}" for a, b in sorted(of_part))
            raise _unclear(file, f"it could be {pairs}")
        found += [(part, images, labels) for images, labels in of_part]
    if not found:
        raise _unclear(file, "no two of its arrays are named as images and their labels")
    if len(found) > 1 and found[0][0] is None:
        raise _unclear(file, f"{found[0][1]} stands beside {found[1][1]}")
    return found


def _with_part(word: str, part: Part | None) -> list[str]:
    """How a word is spelt with the part that it is of."""
    if part is None:
        return [word]
    spelt = PART_WORDS[part]
    return [s for p in spelt for s in (f"{p}_{word}", f"{word}_{p}", f"{p}{word}")]


def _only(file: NamedArrays, keys: Mapping[str, str], words: Sequence[str]) -> str | None:
    found = [keys[word] for word in words if word in keys]
    if len(found) > 1:
        raise _unclear(file, f"it could be {' or '.join(found)}")
    return found[0] if found else None


def _unclear(file: NamedArrays, why: str) -> DataError:
    held = ", ".join(
        f"{key} {info.dtype} {info.shape}" for key, info in sorted(file.arrays.items())[:20]
    )
    return DataError(
        f"It is unclear which arrays of {file.location} are images and labels: "
        f"{printable_name(why)}. It holds {printable_name(held) or 'no arrays'}; expected x_train, "
        "y_train, x_test and y_test, or images and labels. Rename them."
    )


def _check_images(file: NamedArrays, key: str) -> None:
    shape, dtype = file.arrays[key].shape, file.arrays[key].dtype
    where = f"{printable_name(key)} in {file.location}"
    right = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if not right or not all(MIN_SIDE <= side <= MAX_SIDE for side in shape[1:3]):
        raise DataError(
            f"{where} has the shape {shape}; expected (images, height, width), or (images, height, "
            f"width, 3) in RGB order, of {MIN_SIDE} to {MAX_SIDE:,} pixels a side. Move the axes, "
            "or save other images."
        )
    if not 1 <= shape[0] <= MAX_ROWS:
        raise DataError(
            f"{where} has {shape[0]:,} rows; expected 1 to {MAX_ROWS:,}. Split the set."
        )
    if dtype.kind not in "uif":
        raise DataError(f"{where} is of dtype {dtype}; expected uint8 with values 0-255.")


def _rows(
    file: NamedArrays,
    pair: tuple[Part | None, str, str],
    names: Sequence[str] | None,
    patients: str | None,
) -> ArrayRows:
    part, images, labels = pair
    count = file.arrays[images].shape[0]
    of_rows = read_labels(file, labels, names)
    known = [None] * count if patients is None else _patients(read_texts(file, patients))
    for key, found in ((labels, len(of_rows)), (patients, len(known))):
        if found != count:
            raise DataError(
                f"{images} in {file.location} has {count:,} rows, and {key} has {found:,}; "
                "expected one a row. Check how the file was made."
            )
    return ArrayRows(images, part, tuple(of_rows), tuple(known))


def _patients(texts: Sequence[str]) -> list[str | None]:
    """Patients as they are written; NumPy writes a missing number as ``nan``."""
    return [None if text.casefold() in ("", "nan") else text for text in texts]
