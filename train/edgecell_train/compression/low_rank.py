"""Splitting a dense layer in two, with fewer values between them than either side has.

The kernel is replaced by the nearest one of a lower rank, from its singular value decomposition
(Denton et al. 2014).
"""

from typing import Final

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_train.compression.chain import Chain, Link, assembled, copied
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

ENERGY: Final = 0.9
"""Share of the squared singular values that a split keeps."""

_WORTH: Final = 0.75
"""A split has at most this share of the layer's weights."""

SUFFIX: Final = "_low_rank"


def splits(chain: Chain) -> dict[str, int]:
    """The ranks at which dense layers lose little and need fewer weights, by their names."""
    found = {}
    for link in chain.mixing:
        if _is_split(link, chain) or type(link.layer).__name__ != "Dense":
            continue
        given, made = link.layer.kernel.shape
        rank = _rank(link)
        if rank * (given + made) <= _WORTH * given * made:
            found[link.name] = rank
    return found


def split(chain: Chain, name: str, rank: int) -> KerasModel:
    """Builds the net with one dense layer split in two.

    Args:
        chain: Of the net.
        name: Of the dense layer, which keeps its name, its bias and its activation; a linear layer
            comes before it.
        rank: Values between the two.
    """
    layers = []
    for link in chain.links:
        weights = values_of(link.layer.weights)
        if link.name == name:
            kernel, *bias = weights
            left, values, right = np.linalg.svd(kernel.astype(np.float64), full_matrices=False)
            root = np.sqrt(values[:rank])
            before = import_keras().layers.Dense(rank, use_bias=False, name=f"{name}{SUFFIX}")
            layers.append((before, [(left[:, :rank] * root).astype(np.float32)]))
            weights = [(root[:, None] * right[:rank]).astype(np.float32), *bias]
        layers.append((copied(link.layer), weights))
    return assembled(chain.shape, layers)


def _rank(link: Link) -> int:
    (kernel, *_) = values_of(link.layer.weights)
    energies = np.linalg.svd(kernel.astype(np.float64), compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(energies) / energies.sum(), ENERGY)) + 1


def _is_split(link: Link, chain: Chain) -> bool:
    return link.name.endswith(SUFFIX) or f"{link.name}{SUFFIX}" in chain.prunable
