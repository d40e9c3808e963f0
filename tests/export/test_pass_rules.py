"""The rules by which BatchNormalization, rescaling and shifts move past other nodes."""

import numpy as np
import pytest
from support.chains import (
    FLATTEN,
    PIXELS,
    POOL,
    RELU,
    RNG,
    batchnorm,
    chain,
    conv,
    dense,
    depthwise,
    difference,
    graph,
    kinds,
)

from edgecell_export.prepare import for_floats, for_integers
from edgecell_export.prepare.arrays import Padding
from edgecell_export.prepare.base import TOLERANCE
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.fold_rescaling import FoldRescaling
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    GlobalAveragePool2D,
    Maximum,
    MaxPool2D,
    Node,
    Rescale,
    Shift,
    ZeroPad2D,
)
from edgecell_export.prepare.shift_to_maximum import ShiftToMaximum

SCALES = {
    "negative": (-0.5, 1.0, -8.0, 3.0),
    "zero": (0.0, 1.0, -0.0, -2.0),
    "tiny": (1e-20, -1e-20, 1.0, 1e-9),
    "huge": (1e9, -1e9, 1.0, 2.0),
}
SIGMOID = Activation("sigmoid")
MEAN = GlobalAveragePool2D()
AVERAGE = AveragePool2D((2, 2), (2, 2), "valid")
BORDER = ZeroPad2D((1, 0), (0, 2))


def folded(*nodes: Node) -> Chain:
    """The nodes after ``FoldBatchNorm``, proved to answer the same."""
    before = chain(*nodes)
    after = FoldBatchNorm()(before)
    assert difference(before, after) <= TOLERANCE
    return after


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_batchnorm_moves_behind_average_pooling(
    scales: tuple[float, ...], padding: Padding
) -> None:
    pool = AveragePool2D((3, 2), (2, 1), padding)
    after = folded(conv(3, 4), SIGMOID, batchnorm(*scales), pool, conv(4, 2, "valid"), FLATTEN)
    assert kinds(after) == ["Conv2D", "Activation", "AveragePool2D", "Conv2D", "Flatten"]


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
@pytest.mark.parametrize("behind", [(MEAN,), (GlobalAveragePool2D(keep_dimensions=True), FLATTEN)])
def test_batchnorm_moves_behind_global_pooling(
    scales: tuple[float, ...], behind: tuple[Node, ...]
) -> None:
    after = folded(conv(3, 4), RELU, batchnorm(*scales), *behind, dense(4))
    assert "Affine" not in kinds(after)
    assert "Shift" not in kinds(after)


def test_batchnorm_behind_average_pooling_goes_back_into_the_layer() -> None:
    after = folded(depthwise(3, 2), AVERAGE, batchnorm(1.0, -2.0, 0.0, 1e-9, 5.0, 6.0), RELU)
    assert kinds(after) == ["DepthwiseConv2D", "AveragePool2D", "Activation"]


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
@pytest.mark.parametrize("before", [(conv(3, 4), RELU), (conv(3, 4), SIGMOID)])
def test_scale_moves_over_zero_padding_and_the_shift_stays(
    before: tuple[Node, ...], scales: tuple[float, ...]
) -> None:
    after = folded(*before, batchnorm(*scales), BORDER, conv(4, 2, "valid"), FLATTEN)
    assert "Affine" not in kinds(after)
    place = kinds(after).index("ZeroPad2D")
    kept = kinds(after)[place - 1]
    # In front of the padding a channel of far less than another takes a convolution of 1 x 1.
    far_less = min(np.abs(scales)) < 0.05 * max(np.abs(scales))
    assert kept == "Shift" or (kept == "Conv2D" and far_less)


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_batchnorm_goes_into_depthwise_convolutions_on_both_sides(
    scales: tuple[float, ...], padding: Padding
) -> None:
    before, behind = depthwise(2, 2, padding), depthwise(4, 2, padding)
    pointwise = conv(3, 2, size=1)
    nodes = (pointwise, before, RELU, POOL, batchnorm(*scales), behind, FLATTEN)
    assert set(kinds(folded(*nodes))) <= {
        "Conv2D", "DepthwiseConv2D", "Activation", "MaxPool2D", "Flatten", "Shift",
    }  # fmt: skip
    after = folded(pointwise, before, batchnorm(*scales), RELU, FLATTEN)
    assert kinds(after) == ["Conv2D", "DepthwiseConv2D", "Activation", "Flatten"]


def test_batchnorm_in_front_of_max_pooling_moves_only_when_no_scale_is_negative() -> None:
    def nodes(*scales: float) -> tuple[Node, ...]:
        return (conv(3, 4), SIGMOID, batchnorm(*scales), POOL, conv(4, 2, "valid"), FLATTEN)

    assert "Affine" not in kinds(folded(*nodes(1.0, 0.0, 3.0, 4.0)))
    left = nodes(1.0, -1e-9, 3.0, 4.0)
    assert folded(*left).nodes == left


@pytest.mark.parametrize("layer", [conv(3, 4), depthwise(3, 2)])
def test_offset_in_front_of_a_padded_convolution_leaves_a_shift(layer: Node) -> None:
    before = chain(Rescale(1 / 127.5, -1.0), layer, FLATTEN)
    after = FoldRescaling()(before)
    assert kinds(after) == ["Shift", type(layer).__name__, "Flatten"]
    assert isinstance(after.nodes[0], Shift)
    assert np.allclose(after.nodes[0].shift, -127.5)
    assert difference(before, after) <= TOLERANCE


@pytest.mark.parametrize("scale", [1 / 255, -1 / 255])
@pytest.mark.parametrize(
    "between", [(AVERAGE,), (BORDER,), (POOL,), (MEAN,), (AVERAGE, BORDER, FLATTEN)]
)
def test_rescaling_moves_past_pooling_and_padding(between: tuple[Node, ...], scale: float) -> None:
    width = chain(*between).evaluate(np.zeros((1, 8, 8, 3))).shape[-1]
    before = chain(Rescale(scale, 0.5), *between, dense(width), FLATTEN)
    after = FoldRescaling()(before)
    stays = (MEAN in between) or (POOL in between and scale < 0)
    assert ("Rescale" in kinds(after)) == stays
    assert difference(before, after) <= TOLERANCE


def test_rescaling_joins_a_batchnorm_that_no_layer_took() -> None:
    before = chain(Rescale(1 / 255, -0.5), batchnorm(1.0, 2.0, -3.0), SIGMOID, FLATTEN)
    after = FoldRescaling()(before)
    assert kinds(after) == ["Affine", "Activation", "Flatten"]
    assert difference(before, after) <= TOLERANCE


SHIFT = Shift(RNG.normal(size=4))


@pytest.mark.parametrize("layer", [conv(3, 4), dense(3, 4)], ids=["convolution", "dense"])
@pytest.mark.parametrize("between", [(RELU,), (RELU, POOL), (POOL, RELU), (POOL, RELU, POOL)])
def test_shift_behind_a_relu_becomes_a_maximum(layer: Node, between: tuple[Node, ...]) -> None:
    before = chain(layer, *between, SHIFT, conv(4, 2), FLATTEN)
    after = ShiftToMaximum()(before)
    assert "Shift" not in kinds(after)
    assert "Activation" not in kinds(after)
    assert kinds(after).count("Maximum") == 1
    assert difference(before, after) <= TOLERANCE


def test_every_shift_becomes_a_maximum() -> None:
    nodes = (conv(3, 4), RELU, SHIFT, depthwise(4), RELU, POOL, SHIFT, conv(4, 2), FLATTEN)
    after = for_floats(graph(*nodes))
    assert [k for k in kinds(after) if k in ("Shift", "Maximum")] == ["Maximum", "Maximum"]
    assert difference(chain(*nodes), after) <= TOLERANCE


@pytest.mark.parametrize(
    "nodes",
    [
        (conv(3, 4), RELU, AVERAGE, SHIFT),
        (conv(3, 4), AVERAGE, RELU, SHIFT),
        (conv(3, 4), SHIFT),
        (conv(3, 4), POOL, SHIFT),
        (conv(3, 4), SIGMOID, SHIFT),
        (conv(3, 4), RELU, BORDER, SHIFT),
        (Rescale(1 / 255, -0.5), RELU, Shift(np.ones(3))),
        (Shift(np.ones(3)),),
    ],
    ids=[
        "behind average pooling", "average pooling before", "no relu", "pooling only", "sigmoid",
        "behind padding", "no layer", "at the start",
    ],
)  # fmt: skip
def test_shift_stays_where_it_is_no_shifted_relu(nodes: tuple[Node, ...]) -> None:
    assert ShiftToMaximum()(chain(*nodes, FLATTEN)).nodes == (*nodes, FLATTEN)


def test_maximum_is_taken_by_channel() -> None:
    x = np.array([[[[-1.0, 5.0]]]])
    assert Maximum(np.array([0.5, -2.0])).apply(x).tolist() == [[[[0.5, 5.0]]]]


def test_average_pooling_leaves_padding_out_of_the_mean() -> None:
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    pooled = AveragePool2D((2, 2), (2, 2), "same").apply(x)
    assert pooled[0, :, :, 0].tolist() == [[3.0, 4.5], [7.5, 9.0]]


def test_max_pooling_of_negative_values_takes_no_zero_from_padding() -> None:
    x = -np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    pooled = MaxPool2D((2, 2), (2, 2), "same").apply(x)
    assert pooled[0, :, :, 0].tolist() == [[-1.0, -3.0], [-7.0, -9.0]]


def test_integers_keep_answers_when_no_layer_takes_a_small_scale() -> None:
    norm = Affine(np.array([1e-3, 1.0, 1.0, 1.0]), np.full(4, 0.5), "norm")
    before = chain(Rescale(1 / 255, 0.0), conv(3, 4), SIGMOID, norm, conv(4, 2), FLATTEN)
    exact = before.evaluate(PIXELS)
    after = for_integers(graph(*FoldBatchNorm()(before).nodes), PIXELS.astype(np.uint8))
    assert np.abs(after.evaluate(PIXELS) - exact).max() < 0.05 * exact.std()
