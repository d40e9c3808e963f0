import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from support.onnx_conversions import CONVERTER, Make, kernels, maker
from support.onnx_graphs import run
from support.small_run import Conversions

from edgecell_export.formats.onnx_graph import attribute, producer
from edgecell_export.formats.onnx_weights import stored_steps
from edgecell_export.kinds import Target
from edgecell_runtime.errors import RecipeError


@pytest.fixture
def make(conversions: Conversions, tmp_path: Path) -> Make:
    return maker(conversions, tmp_path)


def products(
    model: Any, item: Any, taken: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a byte kernel multiplies: rows of activations, and weights (length of a row, outputs).

    Zero points of activations are taken out of the sums later on, and do not enter products.
    """
    steps = np.asarray(stored_steps(model, item), np.int64)
    if item.op_type == "Gemm":
        return taken.astype(np.int64), steps
    top, left, bottom, right = attribute(item, "pads", [0, 0, 0, 0])
    widths = [(0, 0), (0, 0), (top, bottom), (left, right)]
    windows = sliding_window_view(np.pad(taken, widths), steps.shape[2:], axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, steps[0].size)
    return rows.astype(np.int64), steps.transpose(2, 3, 1, 0).reshape(steps[0].size, -1)


def saturated(rows: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums as ``vpmaddubsw`` makes them: neighbouring products are added, clipped to 16 bits."""
    if len(weights) % 2:
        rows = np.pad(rows, [(0, 0), (0, 1)])
        weights = np.pad(weights, [(0, 1), (0, 0)])
    total = np.zeros((len(rows), weights.shape[1]), np.int64)
    for start in range(0, len(weights), 2):
        pair = rows[:, start : start + 2] @ weights[start : start + 2]
        total += np.clip(pair, -(2**15), 2**15 - 1)
    return total


def quantised(
    path: Path, pixels: NDArray[np.uint8]
) -> Iterator[tuple[Any, Any, NDArray[np.uint8]]]:
    """Each integer kernel of a file with the activations that it takes for the given pixels."""
    model = onnx.load(path)
    watched = onnx.load(path)
    found = {}
    for item, _ in kernels(model):
        back = producer(model, item.input[0])
        assert back is not None
        found[item.name] = back.input[0]
    for name in found.values():
        watched.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        )
    taken = dict(zip(found, run(watched, pixels, *found.values()), strict=True))
    for item, _ in kernels(model):
        yield model, item, taken[item.name]


@pytest.mark.parametrize("target", ["any", "x86"])
def test_sums_are_exact_on_processors_that_add_pairs_in_16_bits(
    make: Make, conversions: Conversions, target: Target
) -> None:
    path, _ = make("static_int8", target=target)
    for model, item, taken in quantised(path, conversions.calibration.first(20)):
        rows, weights = products(model, item, taken)
        assert rows.max() > 200
        for order in (np.arange(len(weights)), np.random.default_rng(0).permutation(len(weights))):
            assert np.array_equal(saturated(rows[:, order], weights[order]), rows @ weights)
        # No two products of this layer can do so, whichever a kernel adds.
        assert 2 * 255 * np.abs(weights).max() < 2**15


def test_sums_overflow_in_a_file_for_processors_that_add_in_32_bits(
    make: Make, conversions: Conversions
) -> None:
    path, _ = make("static_int8", target="x86-vnni")
    overflowing = []
    for model, item, taken in quantised(path, conversions.calibration.first(2)):
        _, weights = products(model, item, taken)
        crafted = np.where(weights > 0, 255, 0).T  # for each output the worst activations
        overflowing.append(not np.array_equal(saturated(crafted, weights), crafted @ weights))
    assert all(overflowing)


def test_file_with_weights_that_may_overflow_is_refused_for_other_processors(make: Make) -> None:
    path, conversion = make("static_int8", target="arm64")
    with pytest.raises(RecipeError, match=r"for x86 promises weights of at most 63 steps"):
        CONVERTER.check(path, dataclasses.replace(conversion, target="x86"))
