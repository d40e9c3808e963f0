"""The same as edgecell does it: ``first_batch_edgecell.py DATA``."""

import sys
from pathlib import Path

import numpy as np

from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.decoding import decode
from edgecell_train.feeding import LabelledPixels
from edgecell_train.hdf5_images import open_data
from edgecell_train.split import split

with open_data(Path(sys.argv[1])) as images:
    decoded = decode(images, PreprocessSpec(64, 64), lambda *_: None, cache=DecodedCache())
    labels = images.labels
parts = split(
    [image.label for image in decoded.images],
    [image.patient for image in decoded.images],
    0,
    [image.part for image in decoded.images],
)
rows = np.flatnonzero(parts == "training")
truth = np.array([labels.index(decoded.images[row].label) for row in rows])
part = LabelledPixels(decoded.pixels, truth, rows)
order = np.random.default_rng(0).permutation(len(part))[:32]
batch = part.take(order), np.eye(2)[truth[order]]
print(len(batch[0]), flush=True)
