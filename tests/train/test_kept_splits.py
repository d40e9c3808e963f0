"""Splits that are kept: found again, dealt anew when anything differs, never taken damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_train import kept_splits
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.kept_splits import Dealt, kept_split

DEALT = Dealt(["a", "b", "a"], ["P1", None, "P2"], [None, None, None], (7, "patient", None))
PARTS = np.array(["training", "test", "validation"])


class Dealer:
    """Deals, and counts how often it was asked."""

    def __init__(self, parts: NDArray[np.str_] = PARTS) -> None:
        self.parts, self.asked = parts, 0

    def __call__(self) -> NDArray[np.str_]:
        self.asked += 1
        return self.parts


@pytest.fixture
def cache(tmp_path: Path) -> DecodedCache:
    """A cache that holds the split."""
    found = DecodedCache(tmp_path)
    kept_split(found, DEALT, Dealer())
    return found


def _files(cache: DecodedCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def test_split_is_not_dealt_a_second_time(cache: DecodedCache) -> None:
    dealer = Dealer()
    found = kept_split(cache, DEALT, dealer)
    np.testing.assert_array_equal(found, PARTS)
    assert (dealer.asked, found.dtype) == (0, np.dtype("<U10"))


@pytest.mark.parametrize(
    "changed",
    [
        replace(DEALT, labels=["a", "b", "b"]),
        replace(DEALT, patients=["P1", None, "P1"]),
        replace(DEALT, patients=["P1", "None", "P2"]),
        replace(DEALT, given=[None, None, "test"]),
        replace(DEALT, options=(8, "patient", None)),
        replace(DEALT, options=(7, "image", None)),
    ],
)
def test_split_is_dealt_anew_when_what_it_follows_from_differs(
    cache: DecodedCache, changed: Dealt
) -> None:
    dealer = Dealer(PARTS[::-1])
    np.testing.assert_array_equal(kept_split(cache, changed, dealer), PARTS[::-1])
    assert dealer.asked == 1


def test_split_is_dealt_anew_by_another_version_of_the_library(
    cache: DecodedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_splits.metadata, "version", lambda name: f"{name} 99")
    dealer = Dealer()
    kept_split(cache, DEALT, dealer)
    assert dealer.asked == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"1" + data[1:],
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data + b"\n",
        lambda data: b"0" + data,
    ],
)
def test_damaged_split_is_dealt_anew_and_kept(
    cache: DecodedCache, damage: Callable[[bytes], bytes]
) -> None:
    (path,) = _files(cache)
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    dealer = Dealer()
    np.testing.assert_array_equal(kept_split(cache, DEALT, dealer), PARTS)
    assert dealer.asked == 1
    assert path.read_bytes() == sound


def test_split_of_other_images_is_not_taken_from_a_moved_entry(cache: DecodedCache) -> None:
    other = replace(DEALT, options=(8, "patient", None))
    (path,) = _files(cache)
    path.parent.rename(cache.folder / f"split-{other.key[:32]}")
    dealer = Dealer(PARTS[::-1])
    np.testing.assert_array_equal(kept_split(cache, other, dealer), PARTS[::-1])


def test_split_is_dealt_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "decoded").write_text("a file where the folder would be")
    np.testing.assert_array_equal(kept_split(DecodedCache(tmp_path), DEALT, Dealer()), PARTS)
    np.testing.assert_array_equal(kept_split(None, DEALT, Dealer()), PARTS)


def test_kept_split_leaves_with_the_entries_that_the_cache_has_no_room_for(
    cache: DecodedCache,
) -> None:
    cache.limit_bytes = 0
    cache._make_room(kept="another")
    assert _files(cache) == []
