"""Limits of a compression: reading them, what binds, and which points come nearest."""

import dataclasses

import pytest

from edgecell_runtime.errors import UsageError
from edgecell_train.compression.frontier import Point, frontier_csv, frontier_plot
from edgecell_train.compression.limits import Limits, asked_limits, nearest

POINT = Point(
    kind="step",
    step=1,
    size_bytes=50_000,
    latency_ms=0.3,
    speed=4.0,
    macs=4_000_000,
    parameters=48_000,
    accuracy=0.95,
    drop=0.2,
    changed_labels=0.001,
    widths={"first": 4},
)


def test_limits_are_read_with_their_units() -> None:
    found = asked_limits("30kB", "0.1ms", "2M", 0.3)
    assert found == Limits(30_000, 0.1, 2_000_000, 0.3)
    assert asked_limits("1.5 MB", "250us", "800000", None) == Limits(1_500_000, 0.25, 800_000, 0.5)
    assert asked_limits(None, None, None, None) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("30 parsecs", None, None, None), "--max-size 30 parsecs cannot be read; expected"),
        ((None, "0.1", None, None), "--max-latency 0.1 cannot be read; .* units ms, us, s"),
        ((None, None, "-2M", None), "--max-macs -2M cannot be read"),
        (("0kB", None, None, None), "expected a number above 0"),
        (("0.3B", None, None, None), "--max-size 0.3B cannot be read"),
        ((None, None, "0.5", None), "--max-macs 0.5 cannot be read"),
        ((None, None, None, -1.0), "--max-drop -1 is out of range"),
    ],
)
def test_limit_that_is_none_is_refused(arguments: tuple[None, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asked_limits(*arguments)


def test_cost_that_exceeds_its_limit_most_binds() -> None:
    kind, excess = Limits(size_bytes=25_100, macs=1_000_000).binding(POINT)
    assert (kind, excess) == ("macs", 4.0)
    assert Limits(size_bytes=5_000, macs=1_000_000).binding(POINT)[0] == "bytes"
    slow = Limits(latency_ms=0.1, size_bytes=25_100)
    assert slow.binding(POINT)[0] == "macs", "a latency is cut through what is computed"
    assert slow.binds_latency(POINT)
    assert not Limits(drop=0.3).binds_latency(POINT)


def test_limits_are_met_together_or_not() -> None:
    assert Limits(60_000, 0.32, 4_000_000).meets_costs(POINT)
    assert not Limits(60_000, 0.32, 3_999_999).meets_costs(POINT)
    assert not Limits(latency_ms=0.3).meets_costs(POINT), "a step has to have a little to spare"
    assert Limits(latency_ms=0.3).meets_costs(dataclasses.replace(POINT, kind="final"))
    assert not Limits(50_000).meets_costs(POINT), "the figures of the test come into the file last"
    assert Limits(60_000, drop=0.2).keeps_accuracy(POINT)
    assert not Limits(60_000, drop=0.1).keeps_accuracy(POINT)


def test_nearest_points_are_the_smallest_accurate_one_and_the_best_small_one() -> None:
    large = dataclasses.replace(POINT, size_bytes=90_000, drop=0.0, accuracy=0.952)
    small = dataclasses.replace(POINT, size_bytes=20_000, drop=1.5, accuracy=0.935)
    smaller = dataclasses.replace(POINT, size_bytes=10_000, drop=4.0, accuracy=0.91)
    words = nearest([large, POINT, small, smaller], Limits(30_000, drop=0.3))
    assert "with the accuracy, 50,000 bytes" in words
    assert "with the costs, 20,000 bytes" in words
    assert "lose 1.50 points" in words
    assert "10,000 bytes" in nearest([smaller], Limits(5_000, drop=0.3))


def test_nearest_point_to_a_latency_need_not_be_the_smallest() -> None:
    fast = dataclasses.replace(POINT, latency_ms=0.05)
    smaller = dataclasses.replace(POINT, size_bytes=7_000, latency_ms=0.09)
    assert "0.05 ms" in nearest([fast, smaller], Limits(latency_ms=0.04, drop=100.0))
    without_costs = nearest([fast, smaller], Limits(drop=0.3))
    assert "7,000 bytes" in without_costs
    assert "with the costs" not in without_costs


def test_point_of_no_use_is_not_the_nearest() -> None:
    wild = dataclasses.replace(POINT, size_bytes=20_000, problem="two devices, two answers")
    assert "20,000" not in nearest([POINT, wild], Limits(10_000, drop=0.3))
    assert "20,000" in nearest([wild], Limits(10_000, drop=0.3))
    assert not Limits(90_000).keeps(wild)
    assert Limits(90_000).keeps(dataclasses.replace(wild, problem=""))


def test_frontier_is_written_with_every_point() -> None:
    source = dataclasses.replace(POINT, kind="source", step=0, size_bytes=400_000)
    final = dataclasses.replace(POINT, kind="final", accuracy=0.96)
    rows = frontier_csv([source, POINT, final]).splitlines()
    assert rows[0].startswith("kind,step,size_bytes,latency_ms,")
    assert [row.split(",")[0] for row in rows[1:]] == ["source", "step", "final"]
    assert rows[2].endswith("first=4,")
    one = frontier_plot([source, POINT, final], {"size_bytes": 60_000.0}, 0.947)
    assert one.startswith(b"\x89PNG")
    assert one != frontier_plot([source, POINT], {"size_bytes": 60_000.0}, 0.947)
