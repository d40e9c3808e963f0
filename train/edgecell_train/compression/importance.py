"""How much a channel matters: the loss that leaving it out would cost, to first order.

Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning": each channel passes a
gate, which is 1; the square of the loss's gradient by the gate estimates what closing it does. The
gates stand where the next layer that mixes channels reads them, where 0 leaves the channel out.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_train.compression.chain import Chain
from edgecell_train.feeding import LabelledPixels, answering_batch, pieces
from edgecell_train.gradients import gradient
from edgecell_train.labelling import Labelling
from edgecell_train.losses import loss_of

IMAGES: Final = 1024
"""So many training images rank channels as more of them do."""

_BATCH: Final = 32

Importances = Mapping[str, NDArray[np.float64]]
"""By the name of a prunable layer, float64 (channels,), 0 or more."""


def importances(
    chain: Chain, labelling: Labelling, part: LabelledPixels, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Estimates how much each prunable channel matters.

    Args:
        chain: Of a trained net; it computes as in inference.
        labelling: What its outputs mean.
        part: Training images; ``IMAGES`` of them are taken.
        seed: Of their choice.
    """
    ops = import_keras().ops
    names, widths = list(chain.prunable), list(chain.prunable.values())
    starts = dict(zip(names, np.cumsum([0, *widths[:-1]]).tolist(), strict=True))
    loss = loss_of(labelling.head.kind, 0.0)
    places = np.random.default_rng(seed).permutation(len(part))[:IMAGES]
    size = answering_batch(part.pixels.shape[1:], _BATCH)
    total = np.zeros(sum(widths))
    gates = ops.ones((sum(widths),))
    targets = labelling.targets(part.truth[places])
    for number, pixels in enumerate(pieces(part, places, size)):
        wanted = targets[number * size : number * size + len(pixels)]
        images = ops.convert_to_tensor(pixels.astype(np.float32))

        def cost(values: Any, images: Any = images, wanted: Any = wanted) -> Any:
            return loss(wanted, _gated(chain, starts, images, values))

        slope = ops.convert_to_numpy(gradient(cost, gates)).astype(np.float64)
        total += len(pixels) * slope**2
    ends = [starts[name] + width for name, width in zip(names, widths, strict=True)]
    return {
        name: total[starts[name] : end] / len(places) for name, end in zip(names, ends, strict=True)
    }


def _gated(chain: Chain, starts: Mapping[str, int], images: Any, gates: Any) -> Any:
    """The net's answers with a gate before each layer that mixes channels."""
    ops = import_keras().ops
    values = images
    for link in chain.links:
        if link.mixes and link.producer in starts:
            values = values * ops.take(gates, starts[link.producer] + link.origin, axis=0)
        values = link.layer(values, training=False)
    return values
