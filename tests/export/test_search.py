from collections.abc import Collection

import pytest

from edgecell_export.choices import Loss
from edgecell_export.search import find_float_layers
from edgecell_runtime.errors import ParityError

NAMES = ["first", "second", "third", "fourth", "fifth"]


class Net:
    """A net that loses points for certain sets of layers unless one of them is in float."""

    def __init__(self, *costs: tuple[Collection[str], float], always: float = 0.0) -> None:
        self._costs, self._always = costs, always
        self.trials: list[frozenset[str]] = []

    def trial(self, layers: frozenset[str]) -> Loss:
        self.trials.append(layers)
        cost = sum(points for needed, points in self._costs if not set(needed) <= layers)
        return Loss(1000, self._always + cost, 0.001 + cost / 100, 0.9)


def found(net: Net, allowed: float = 0.3) -> list[str]:
    return [layer.name for layer in find_float_layers(NAMES, net.trial, allowed)]


def test_search_leaves_nothing_in_float_when_integers_lose_little() -> None:
    net = Net((["third"], 0.3))
    assert found(net) == []
    assert net.trials == [frozenset()]


def test_search_finds_the_one_layer_that_costs() -> None:
    assert found(Net((["third"], 6.0), (["fifth"], 0.1))) == ["third"]


def test_search_finds_a_pair_when_neither_layer_helps_by_itself() -> None:
    assert found(Net((["second", "third"], 6.0))) == ["second", "third"]


def test_search_joins_layers_far_apart() -> None:
    assert found(Net((["first"], 4.0), (["fourth", "fifth"], 3.0))) == ["first", "fourth", "fifth"]


def test_search_gives_back_what_is_not_needed() -> None:
    """The first helps a little, so that it is taken in on the way."""
    net = Net((["first"], 0.2), (["second"], 3.0), (["fourth"], 2.0))
    assert found(net) == ["second", "fourth"]


def test_search_says_why_with_figures() -> None:
    (layer,) = find_float_layers(NAMES, Net((["third"], 6.0), always=0.1).trial, 0.3)
    assert layer.reason == (
        "with it as integers 6.10 points are lost on 1000 validation images, with it in float 0.10"
    )


def test_search_tries_no_set_twice() -> None:
    net = Net((["first"], 4.0), (["fourth", "fifth"], 3.0))
    found(net)
    assert len(net.trials) == len(set(net.trials))


def test_search_is_refused_when_float_layers_do_not_help() -> None:
    net = Net((["first"], 6.0), always=1.0)
    with pytest.raises(ParityError, match=r"loses 7\.00 points on 1000 .* down to 0\.3, which"):
        found(net)
    assert frozenset(NAMES) not in net.trials  # that would be no file of integers
