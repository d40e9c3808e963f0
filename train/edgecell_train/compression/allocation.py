"""Which channels to leave out so that a net costs no more than it may."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_train.compression.costs import CostKind, Costs
from edgecell_train.compression.importance import Importances

_FEWEST: Final = 2
"""Channels that a layer keeps in any case."""

_MOST_AT_ONCE: Final = 0.8
"""Share of a layer's channels that one step may take: the estimate holds for small changes."""


def keep(
    costs: Costs, importances: Importances, kind: CostKind, most: int
) -> dict[str, NDArray[np.int64]]:
    """Takes channels away, each time the one that matters least for what it costs.

    Args:
        costs: Of nets by their widths.
        importances: Of the channels.
        kind: What is to be cut.
        most: What the net may cost; where that cannot be reached in one step, it comes near.

    Returns:
        By the name of a layer, its channels that stay, ascending.
    """
    order = {name: np.argsort(values, kind="stable") for name, values in importances.items()}
    widths = {name: len(values) for name, values in importances.items()}
    fewest = {
        name: min(width, max(_FEWEST, round(width * (1 - _MOST_AT_ONCE))))
        for name, width in widths.items()
    }
    now = costs.of(kind, widths)
    while now > most:
        best: tuple[float, str, int] | None = None
        for name, width in widths.items():
            if width <= fewest[name]:
                continue
            saved = now - costs.of(kind, {**widths, name: width - 1})
            if saved <= 0:
                continue
            next_one = importances[name][order[name][len(order[name]) - width]]
            price = float(next_one) / saved
            if best is None or price < best[0]:
                best = (price, name, saved)
        if best is None:
            break
        _, name, saved = best
        widths[name] -= 1
        now -= saved
    return {
        name: np.sort(order[name][len(order[name]) - width :]) for name, width in widths.items()
    }
