import copy
import dataclasses
import pickle

import pytest

from edgecell_runtime.records import dataclass


@dataclass(frozen=True)
class Point:
    """A record."""

    x: int
    y: float = 0.5


@dataclass(frozen=True)
class Positive:
    """A record that checks itself."""

    x: int

    def __post_init__(self) -> None:
        if self.x < 1:
            raise ValueError("x is above 0.")


@dataclass(frozen=True)
class OtherPoint:
    """Of the same fields."""

    x: int
    y: float = 0.5


def test_record_takes_fields_by_place_and_name() -> None:
    assert dataclasses.asdict(Point(1, y=2.0)) == {"x": 1, "y": 2.0}
    assert Point(1).y == 0.5


def test_record_is_equal_to_one_of_its_class_with_the_same_values() -> None:
    assert Point(1) == Point(1, 0.5)
    assert hash(Point(1)) == hash(Point(1, 0.5))
    assert Point(1) != Point(2)
    assert Point(1) != OtherPoint(1)
    assert Point(1) != (1, 0.5)


def test_record_shows_its_fields() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0.5)"


@pytest.mark.parametrize("name", ["x", "y", "z"])
def test_record_refuses_another_value(name: str) -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        setattr(point, name, 3)
    assert point == Point(1)
    assert not hasattr(point, "z")


def test_record_refuses_to_lose_a_field() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="x"):
        del Point(1).x  # type: ignore[misc]


def test_record_is_checked_when_it_is_made_and_replaced() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Positive(0)
    with pytest.raises(ValueError, match="above 0"):
        dataclasses.replace(Positive(1), x=0)


def test_record_is_copied_and_pickled_whole() -> None:
    point = Point(3, 4.0)
    for other in (copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert other == point


def test_record_compiles_nothing_but_its_constructor() -> None:
    shared = ("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__")
    assert all(vars(Point)[name] is vars(OtherPoint)[name] for name in shared)
