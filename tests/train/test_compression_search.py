"""A search by its points: which step is fine-tuned to its end, and when the search has failed."""

import dataclasses
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


@pytest.mark.parametrize(("size", "drop", "failed"), [(20_000, 0.1, False), (20_000, 0.2, True)])
def test_search_has_failed_when_the_final_net_keeps_a_limit_less(
    size: int, drop: float, failed: bool
) -> None:
    search = _search(Limits(size_bytes=30_000, drop=0.1), 0.0, 3.0)
    assert not search.has_failed
    final = dataclasses.replace(SOURCE, kind="final", step=2, size_bytes=size, drop=drop)
    ended = dataclasses.replace(search, points=(*search.points, final))
    assert ended.has_failed is failed
    slow = dataclasses.replace(ended, limits=dataclasses.replace(search.limits, latency_ms=0.9))
    assert slow.has_failed


def test_search_is_read_as_it_was_written(tmp_path: Path) -> None:
    search = _search(Limits(size_bytes=30_000), 0.0, 3.0)
    write_search(tmp_path, search)
    assert read_search(tmp_path) == search
    assert len((tmp_path / "frontier.csv").read_text().splitlines()) == 4
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(RunError, match=r"search\.json cannot be read"):
        read_search(tmp_path)


def test_short_fine_tuning_ends_on_a_cosine_and_warms_up_for_half_of_it_at_most() -> None:
    config = TrainConfig(epochs=20, schedule=Schedule("step", warmup_epochs=3.0))
    found = for_epochs(config, 2)
    assert (found.epochs, found.schedule) == (2, Schedule("cosine", warmup_epochs=1.0))
    assert for_epochs(config, 1).schedule.warmup_epochs == 0.5, "or one epoch would be refused"
