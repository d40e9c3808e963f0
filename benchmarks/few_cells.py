"""What benchmarks of training share: a few cells to train on, and the command that trains."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError
from edgecell_runtime.files import storage_errors
from edgecell_train.decoding import decode
from edgecell_train.hdf5_images import open_data
from edgecell_train.presets import find_preset
from edgecell_train.split import split


@dataclass(frozen=True)
class FewCells:
    """Which cells are trained on.

    Attributes:
        data: Labelled images of known patients.
        preset: They get its size.
        cells: Of all classes together, alike of each.
        seed: Of the split, whose test patients are left out, and of the drawing.
    """

    data: Path
    preset: str
    cells: int
    seed: int = 0


def write_few_cells(wanted: FewCells, path: Path) -> Path:
    """Writes an ``.npz`` of a few cells to train on, and of all cells of the test patients.

    Raises:
        DataError: There are too few cells.
        StorageError: The file could not be written.
    """
    with open_data(wanted.data) as images:
        decoded = decode(images, find_preset(wanted.preset).preprocessing, lambda *_: None)
    labels = np.array([image.label for image in decoded.images])
    known = [image.patient for image in decoded.images]
    patients = np.array([patient or "" for patient in known])
    test = np.flatnonzero(split(labels.tolist(), known, wanted.seed) == "test")
    rows = _drawn(labels, np.setdiff1d(np.arange(len(labels)), test), wanted)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            x_train=decoded.pixels[rows],
            y_train=labels[rows],
            patients_train=patients[rows],
            x_test=decoded.pixels[test],
            y_test=labels[test],
            patients_test=patients[test],
        )
    return path


def run_edgecell(*arguments: str) -> None:
    """Runs the command as a user does; its words are shown, and its failure ends this program."""
    status = try_edgecell(*arguments)
    if status:
        sys.exit(status)


def try_edgecell(*arguments: str) -> int:
    """The same; gives its exit status."""
    return subprocess.run([sys.executable, "-m", "edgecell", *arguments], check=False).returncode


def _drawn(labels: NDArray[np.str_], rows: NDArray[np.intp], wanted: FewCells) -> NDArray[np.intp]:
    classes = np.unique(labels)
    each, generator = wanted.cells // len(classes), np.random.default_rng(wanted.seed)
    drawn = []
    for label in classes:
        of_label = rows[labels[rows] == label]
        if len(of_label) < each:
            raise DataError(
                f"{wanted.data} has {len(of_label):,} images of {label} outside the test part; "
                f"expected {each:,}. Ask for fewer with --cells."
            )
        drawn.append(generator.permutation(of_label)[:each])
    return np.sort(np.concatenate(drawn))
