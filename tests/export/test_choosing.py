import numpy as np
from numpy.typing import NDArray

from edgecell_export.choosing import Candidate, mark_choice


def times(*medians: int) -> NDArray[np.int64]:
    """Around each median, with noise of 5 %."""
    noise = np.random.default_rng(0).normal(1, 0.05, (len(medians), 300))
    return (np.array(medians)[:, None] * noise).astype(np.int64)


def choice(candidates: list[Candidate], *medians: int) -> str:
    chosen = [one.recipe for one in mark_choice(candidates, times(*medians)) if one.chosen]
    assert len(chosen) == 1
    return chosen[0]


FLOAT, INT8 = Candidate("float32", size_bytes=4000), Candidate("static_int8", size_bytes=1000)


def test_choice_is_the_faster_one() -> None:
    assert choice([FLOAT, INT8], 1_000_000, 400_000) == "static_int8"
    assert choice([FLOAT, INT8], 175_000, 200_000) == "float32"


def test_choice_is_the_smaller_one_when_times_cannot_be_told_apart() -> None:
    assert choice([FLOAT, INT8], 1_000_000, 1_001_000) == "static_int8"
    assert choice([INT8, FLOAT], 1_001_000, 1_000_000) == "static_int8"


def test_candidates_carry_their_times_in_the_end() -> None:
    timed = mark_choice([FLOAT, INT8], times(1_000_000, 500_000))
    assert [round(one.latency_ms or 0, 1) for one in timed] == [1.0, 0.5]
    assert timed[0].against_fastest is not None
    assert 0.45 < timed[0].against_fastest.value < 0.55
