"""A search by its points: which step is fine-tuned to its end, and when the search has failed."""

import dataclasses
import json
from pathlib import Path

import pytest

from edgecell_runtime.errors import RunError
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.search import (
    Search,
    chosen_step,
    read_search,
    write_search,
)
from edgecell_train.compression.source import for_epochs
from edgecell_train.config import Schedule, TrainConfig

SOURCE = Point(
    kind="source",
    step=0,
    size_bytes=100_000,
    latency_ms=1.0,
    speed=2.0,
    macs=1_000_000,
    parameters=99_000,
    accuracy=0.95,
    drop=0.0,
    changed_labels=0.0,
    widths={"first": 8},
)


def _search(limits: Limits, *drops: float) -> Search:
    """Steps that halve the source, each with what it loses."""
    steps = [
        dataclasses.replace(
            SOURCE, kind="step", step=number, size_bytes=100_000 // 2**number, drop=drop
        )
        for number, drop in enumerate(drops, 1)
    ]
    config = TrainConfig(preset="", model="compression/net.keras")
    return Search("runs/one", "4" * 64, "net", limits, config, (SOURCE, *steps))


def test_first_step_within_the_costs_is_chosen_whatever_it_lost() -> None:
    limits = Limits(size_bytes=30_000, drop=0.1)
    assert chosen_step(_search(limits, 0.0)) is None
    chosen = chosen_step(_search(limits, 0.0, 3.0))
    assert chosen is not None
    assert chosen.step == 2, "the last fine-tuning decides on what is lost"


def test_smallest_accurate_step_is_chosen_when_two_behind_it_lost_too_much() -> None:
    limits = Limits(drop=0.5)
    for unsettled in ((0.0, 0.4), (0.0, 0.6), (0.6, 0.4, 0.7)):
        assert chosen_step(_search(limits, *unsettled)) is None
    chosen = chosen_step(_search(limits, 0.6, 0.4, 0.7, 0.8))
    assert chosen is not None
    assert chosen.step == 2


def test_exhausted_search_takes_the_smallest_accurate_step_or_has_failed() -> None:
    limits = Limits(drop=0.5)
    exhausted = dataclasses.replace(_search(limits, 0.4, 0.6), exhausted=True)
    chosen = chosen_step(exhausted)
    assert chosen is not None
    assert chosen.step == 1
    assert not exhausted.has_failed
    assert dataclasses.replace(_search(limits, 0.6), exhausted=True).has_failed


def _ended(search: Search, final: Point) -> Search:
    return dataclasses.replace(search, points=(*search.points, final))


FINAL = dataclasses.replace(SOURCE, kind="final", step=2, size_bytes=20_000)


def test_search_ends_with_the_final_net_when_it_keeps_the_limits_and_else_has_failed() -> None:
    search = _search(Limits(size_bytes=30_000, drop=0.1), 0.0, 3.0)
    assert not search.has_failed
    assert search.result is None
    assert dataclasses.replace(search, points=(SOURCE,)).smallest == SOURCE
    ended = _ended(search, dataclasses.replace(FINAL, drop=0.1))
    assert ended.result == ended.points[-1]
    assert not ended.has_failed
    assert _ended(search, dataclasses.replace(FINAL, drop=0.2)).has_failed
    slow = dataclasses.replace(ended, limits=dataclasses.replace(search.limits, latency_ms=0.9))
    assert slow.has_failed


def test_search_ends_with_the_net_of_the_step_when_the_final_one_alone_misses_a_limit() -> None:
    search = _search(Limits(size_bytes=30_000, drop=0.1), 0.0, 0.1)
    for final in (
        dataclasses.replace(FINAL, drop=0.2),
        dataclasses.replace(FINAL, problem="two devices would give two answers"),
    ):
        ended = _ended(search, final)
        assert ended.result == search.points[-1]
        assert not ended.has_failed


def test_net_of_no_use_is_never_chosen_and_the_search_goes_on_behind_it() -> None:
    search = _search(Limits(size_bytes=30_000, drop=0.1), 0.0, 3.0)
    wild = dataclasses.replace(search.points[-1], problem="two devices would give two answers")
    going = dataclasses.replace(search, points=(*search.points[:-1], wild))
    assert chosen_step(going) is None
    assert not going.has_failed
    third = dataclasses.replace(wild, step=3, size_bytes=15_000, problem="")
    assert chosen_step(_ended(going, third)) == third
    free = dataclasses.replace(_search(Limits(drop=0.5), 0.1, 0.2, 0.6, 0.7))
    points = [*free.points[:2], dataclasses.replace(free.points[2], problem="no"), *free.points[3:]]
    assert chosen_step(dataclasses.replace(free, points=tuple(points))) == points[1]


def test_step_whose_final_net_is_of_no_use_is_not_chosen_again() -> None:
    search = _search(Limits(size_bytes=30_000, drop=0.1), 0.0, 3.0)
    ended = _ended(search, dataclasses.replace(FINAL, problem="two devices"))
    assert ended.result is None
    assert not ended.has_failed
    assert chosen_step(ended) is None
    assert ended.smallest == search.points[-1], "which is cut on"
    third = dataclasses.replace(SOURCE, kind="step", step=3, size_bytes=15_000, drop=2.0)
    assert chosen_step(_ended(ended, third)) == third
    second = _ended(_ended(ended, third), dataclasses.replace(FINAL, step=3, size_bytes=15_000))
    assert second.result == second.points[-1]


def test_search_that_diverged_has_failed() -> None:
    assert dataclasses.replace(_search(Limits(drop=0.5), 0.4), diverged="It did.").has_failed


def test_search_is_read_as_it_was_written(tmp_path: Path) -> None:
    search = _search(Limits(size_bytes=30_000), 0.0, 3.0)
    write_search(tmp_path, search)
    assert read_search(tmp_path) == search
    assert len((tmp_path / "frontier.csv").read_text().splitlines()) == 4
    stored = json.loads((tmp_path / "search.json").read_text())
    del stored["diverged"]
    for point in stored["points"]:
        del point["problem"]
    (tmp_path / "search.json").write_text(json.dumps(stored))
    assert read_search(tmp_path) == search, "as an earlier version wrote it"
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(RunError, match=r"search\.json cannot be read"):
        read_search(tmp_path)


def test_short_fine_tuning_ends_on_a_cosine_and_warms_up_for_half_of_it_at_most() -> None:
    config = TrainConfig(epochs=20, schedule=Schedule("step", warmup_epochs=3.0))
    found = for_epochs(config, 2)
    assert (found.epochs, found.schedule) == (2, Schedule("cosine", warmup_epochs=1.0))
    assert for_epochs(config, 1).schedule.warmup_epochs == 0.5, "or one epoch would be refused"
