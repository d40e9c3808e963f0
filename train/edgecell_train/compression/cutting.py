"""One cut: from a net to a smaller one, not fine-tuned yet."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgecell_export.tensorflow import import_keras
from edgecell_train import feeding
from edgecell_train.compression.allocation import keep
from edgecell_train.compression.chain import Chain, narrowed, read_chain
from edgecell_train.compression.costs import CostKind, costs_of
from edgecell_train.compression.importance import IMAGES, importances
from edgecell_train.compression.low_rank import split, splits
from edgecell_train.feeding import LabelledPixels
from edgecell_train.labelling import Labelling
from edgecell_train.losses import loss_of
from edgecell_train.presets.base import KerasModel


@dataclass(frozen=True)
class Goal:
    """What a cut is to reach.

    Attributes:
        kind: The cost that is cut.
        most: What the widths of the smaller net may cost, as ``costs`` counts it.
    """

    kind: CostKind
    most: int


def cut(
    chain: Chain, goal: Goal, labelling: Labelling, training: LabelledPixels, seed: int
) -> KerasModel:
    """Narrows a net, or splits a dense layer and narrows the rest less, whichever loses less.

    Args:
        chain: Of a trained net, which stays as it is.
        goal: What is to be cut, and how much of it.
        labelling: What its outputs mean.
        training: Training images, which say which channels matter and what was lost.
        seed: Of the choice of images.

    Returns:
        The net of the lower cross-entropy on training images; at the same cost, or near it where
        so much cannot be cut at once.
    """
    found = []
    for candidate in _candidates(chain):
        costs = costs_of(candidate)
        matter = importances(candidate, labelling, training, seed)
        found.append(narrowed(candidate, keep(costs, matter, goal.kind, goal.most)))
    if len(found) == 1:
        return found[0]
    losses = [_loss(net, labelling, training, seed) for net in found]
    return found[int(np.argmin(losses))]


def _candidates(chain: Chain) -> Iterator[Chain]:
    yield chain
    for name, rank in splits(chain).items():
        yield read_chain(split(chain, name, rank))


def _loss(model: KerasModel, labelling: Labelling, part: LabelledPixels, seed: int) -> float:
    places = np.random.default_rng(seed).permutation(len(part))[:IMAGES]
    chosen = LabelledPixels(part.take(places), part.truth[places])
    loss = loss_of(labelling.head.kind, 0.0)
    value = loss(labelling.targets(chosen.truth), feeding.answers(model, chosen))
    return float(import_keras().ops.convert_to_numpy(value))
