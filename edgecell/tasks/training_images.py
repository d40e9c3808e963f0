"""The images of a training: the user's, or cells that are drawn for the while."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgecell.drawn_cells import write_drawn_cells
from edgecell_runtime.files import storage_errors
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_train.config import TrainConfig
from edgecell_train.hdf5_images import open_data


@contextlib.contextmanager
def open_images(config: TrainConfig, runs: Path) -> Iterator[LabelledImages]:
    """Opens the images, or draws some in a hidden folder in ``runs`` for the while.

    Raises:
        EdgecellError: They cannot be opened, or cannot be drawn there.
    """
    if config.data:
        patients = Path(config.patients) if config.patients else None
        with open_data(Path(config.data), patients=patients) as images:
            yield images
        return
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        # Beside the runs, so that the cells can be moved into the run at its end.
        folder = tempfile.TemporaryDirectory(prefix=".drawing.", dir=runs)
    with folder:
        archive = Path(folder.name) / "cells.zip"
        write_drawn_cells(archive, seed=config.seed)
        with open_labelled(archive) as images:
            yield images
