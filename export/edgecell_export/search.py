"""Which layers stay in float: the fewest that keep the loss below what is allowed.

Layers are tried by themselves and in pairs of neighbours, because an activation between two integer
layers is an integer too. The sets that bring the answers nearest to the source are joined until the
loss is small enough; then every layer that turns out not to be needed goes back to integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecell_export.choices import Loss
from edgecell_runtime.errors import ParityError
from edgecell_runtime.manifest import FloatLayer

Trial = Callable[[frozenset[str]], Loss]
"""Converts with these layers in float, and says what the result loses."""


@dataclass(frozen=True)
class _Tried:
    layers: frozenset[str]
    loss: Loss


def find_float_layers(names: Sequence[str], trial: Trial, allowed: float) -> tuple[FloatLayer, ...]:
    """Finds the most integer network whose loss is allowed.

    Args:
        names: Of all layers, in the order of computation.
        trial: See ``Trial``; called once a set of layers.
        allowed: Points that may be lost.

    Returns:
        The layers to leave in float, in the order of computation, each with the reason.

    Raises:
        ParityError: All layers would have to be in float.
    """
    known: dict[frozenset[str], Loss] = {}

    def loss_of(layers: frozenset[str]) -> Loss:
        if layers not in known:
            known[layers] = trial(layers)
        return known[layers]

    plain = loss_of(frozenset())
    if plain.points <= allowed:
        return ()
    windows = [frozenset(names[i : i + size]) for size in (1, 2) for i in range(len(names))]
    tried = [_Tried(layers, loss_of(layers)) for layers in dict.fromkeys(windows)]
    chosen = _join_until_allowed(tried, loss_of, allowed)
    if len(chosen) == len(names):
        raise ParityError(
            f"As integers the model loses {plain.points:.2f} points on {plain.sample} validation "
            f"images, and no layer that stays in float brings that down to {allowed:g}, which "
            "--max-drop allows. No file was written; allow more, or export float32."
        )
    by_gain = sorted(chosen, key=lambda name: -loss_of(frozenset({name})).distance)
    for name in by_gain:  # what gains least by itself is given back first
        if loss_of(chosen - {name}).points <= allowed:
            chosen -= {name}
    return tuple(
        FloatLayer(
            name,
            f"with it as integers {loss_of(chosen - {name}).points:.2f} points are lost on "
            f"{plain.sample} validation images, with it in float {loss_of(chosen).points:.2f}",
        )
        for name in names
        if name in chosen
    )


def _join_until_allowed(tried: Sequence[_Tried], loss_of: Trial, allowed: float) -> frozenset[str]:
    enough = [one for one in tried if one.loss.points <= allowed]
    if enough:
        return min(enough, key=lambda one: (len(one.layers), one.loss.distance)).layers
    chosen: frozenset[str] = frozenset()
    every = frozenset[str]().union(*(one.layers for one in tried))
    for one in sorted(tried, key=lambda one: one.loss.distance):
        if not one.layers <= chosen:
            chosen |= one.layers
            if chosen == every or loss_of(chosen).points <= allowed:
                break
    return chosen
