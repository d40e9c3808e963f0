"""The same as edgecell's command does it; ``first_batch_edgecell.py DATA FOLDER``."""

import os
import sys
from pathlib import Path

import numpy as np

from edgecell import console
from edgecell.tasks.training import train_run
from edgecell.tasks.training_request import Request, options_of
from edgecell_train import training
from edgecell_train.feeding import LabelledPixels
from edgecell_train.fitting import Subject


def hand_over(subject: Subject, part: LabelledPixels, *_: object) -> None:
    """Takes the place of the training, and ends it at its first batch."""
    order = np.random.default_rng(0).permutation(len(part))[:32]
    batch = part.take(order), subject.labelling.targets(part.truth)[order]
    libraries = {"tensorflow", "jax", "keras"} & set(sys.modules)
    print(*sorted(libraries), len(batch[0]), flush=True)
    os._exit(0)


training.fit = hand_over  # type: ignore[assignment]
console.set_quiet(True)
options = options_of({"data": Path(sys.argv[1]), "preset": "malaria-cnn"})
train_run(Request(options), Path(sys.argv[2]) / "runs")
