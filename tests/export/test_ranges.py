import tracemalloc
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_export.ranges import BINS, INSIDE, Range, RangeRule, collect_ranges
from edgecell_runtime.errors import ConversionError

Batches = Callable[[], Iterator[Mapping[str, NDArray[np.float32]]]]
RULES: tuple[RangeRule, ...] = ("min-max", "percentile", "mse")
NORMAL = np.random.default_rng(0).normal(size=(50, 2000)).astype(np.float32)


def batches(values: NDArray[np.float32]) -> Batches:
    return lambda: ({"x": part} for part in values)


def range_of(values: NDArray[np.float32], rule: RangeRule) -> Range:
    return collect_ranges(batches(values), rule)["x"]


def squared_error(values: NDArray[np.float32], low: float, high: float) -> float:
    """Of 8-bit steps between the two ends, really rounded and clipped."""
    step = (high - low) / 255
    zero = np.rint(-low / step)
    steps = np.clip(np.rint(values.astype(np.float64) / step) + zero, 0, 255)
    return float((((steps - zero) * step - values) ** 2).mean())


def test_min_max_is_the_smallest_and_the_largest_value_of_all_batches() -> None:
    assert range_of(NORMAL, "min-max") == (float(NORMAL.min()), float(NORMAL.max()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("offset", [100.0, -100.0])
def test_zero_is_inside_when_no_value_is_near_it(rule: RangeRule, offset: float) -> None:
    low, high = range_of(NORMAL + np.float32(offset), rule)
    assert (low == 0.0 and high > 99) if offset > 0 else (high == 0.0 and low < -99)


@pytest.mark.parametrize("rule", RULES)
def test_range_is_empty_when_all_values_are_zero(rule: RangeRule) -> None:
    assert range_of(np.zeros((3, 5), np.float32), rule) == (0.0, 0.0)


def test_percentile_loses_its_share_at_either_end_and_no_bin_less() -> None:
    low, high = range_of(NORMAL, "percentile")
    width = (NORMAL.max() - NORMAL.min()) / BINS
    allowed = NORMAL.size * (1 - INSIDE) / 2 + 1e-6
    for values, end in ((NORMAL, high), (-NORMAL, -low)):
        assert (values > end).sum() <= allowed < (values > end - width).sum()


def test_percentile_cuts_a_lone_outlier_off() -> None:
    values = NORMAL.copy()
    values[7, 7] = 100.0
    assert range_of(values, "min-max")[1] == 100
    assert range_of(values, "percentile")[1] < 5


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).laplace(size=(50, 2000)),
        np.maximum(np.random.default_rng(2).normal(size=(50, 2000)), 0) ** 2,
        np.random.default_rng(3).standard_t(3, size=(50, 2000)) + 1,
    ],
    ids=["two long tails", "behind ReLU", "shifted"],
)
def test_mse_has_less_error_than_any_range_of_a_coarse_search(values: NDArray[np.float64]) -> None:
    values = values.astype(np.float32)
    found = squared_error(values, *range_of(values, "mse"))
    low, high = range_of(values, "min-max")
    tried = [
        squared_error(values, low * down, high * up)
        for up in np.linspace(0.05, 1, 20)
        for down in (np.linspace(0.05, 1, 20) if low < 0 else [1.0])
    ]
    assert found < 0.99 * squared_error(values, low, high)
    assert found < 1.02 * min(tried)


def test_mse_of_a_normal_distribution_is_the_known_optimum() -> None:
    # Banner et al. 2019, "Post training 4-bit quantization": 3.92 standard deviations for 8 bits.
    values = np.random.default_rng(4).normal(size=(100, 10_000)).astype(np.float32)
    low, high = range_of(values, "mse")
    assert -low == pytest.approx(3.92, abs=0.15)
    assert high == pytest.approx(3.92, abs=0.15)


def test_mse_keeps_the_whole_range_when_all_values_are_alike() -> None:
    values = np.random.default_rng(5).uniform(0, 1, (50, 2000)).astype(np.float32)
    assert range_of(values, "mse")[1] > 0.99


@pytest.mark.parametrize("rule", RULES)
def test_range_does_not_depend_on_how_values_are_batched(rule: RangeRule) -> None:
    assert range_of(NORMAL, rule) == range_of(NORMAL.reshape(5, 10, 2000), rule)


def test_tensors_have_ranges_of_their_own() -> None:
    def named() -> Iterator[Mapping[str, NDArray[np.float32]]]:
        for part in NORMAL:
            yield {"one": part, "ten": part * 10}

    found = collect_ranges(named, "percentile")
    assert np.allclose(np.array(found["one"]) * 10, found["ten"], rtol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_memory_does_not_grow_with_the_number_of_batches(rule: RangeRule) -> None:
    def many() -> Iterator[Mapping[str, NDArray[np.float32]]]:
        for seed in range(60):
            yield {"x": np.random.default_rng(seed).random(100_000, np.float32)}

    collect_ranges(batches(NORMAL), rule)  # imports and caches
    tracemalloc.start()
    collect_ranges(many, rule)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 400_000  # all batches together are 24 MB


def test_calibration_is_refused_when_there_are_no_batches() -> None:
    with pytest.raises(ConversionError, match="got no images"):
        collect_ranges(lambda: iter(()), "min-max")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_calibration_is_refused_when_a_value_is_not_finite(value: float) -> None:
    values = NORMAL[:2].copy()
    values[1, 5] = value
    with pytest.raises(ConversionError, match=r"a value in x that is not finite"):
        range_of(values, "percentile")
