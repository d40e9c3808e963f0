import dataclasses

import numpy as np
import pytest
from support.chains import (
    FLATTEN,
    POOL,
    RELU,
    RNG,
    chain,
    conv,
    dense,
    depthwise,
    difference,
    graph,
    kinds,
)
from support.small_run import SmallRun

from edgecell_export.prepare import Graph, for_integers
from edgecell_export.prepare.absorb_shift import AbsorbShift
from edgecell_export.prepare.arrays import Padding, round_weights
from edgecell_export.prepare.base import TOLERANCE
from edgecell_export.prepare.graph import Chain, Part
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import Activation, Layer, Node, Shift
from edgecell_export.tensorflow import import_keras

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
SHIFT = Shift(np.array([0.5, -2.0, 30.0, 0.0]))


def net() -> Graph:
    return graph(conv(3, 4), RELU, POOL, FLATTEN, dense(64))


def layers(of: Graph) -> list[Layer]:
    nodes = [node for part in of.parts for node in part.chain.nodes]
    return [node for node in nodes if isinstance(node, Layer)]


@pytest.mark.parametrize("between", [(), (RELU,), (POOL,), (RELU, POOL)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_shift_before_a_convolution_is_absorbed_exactly(
    between: tuple[Node, ...], padding: Padding
) -> None:
    before = chain(conv(3, 4), *between, SHIFT, conv(4, 2, padding), FLATTEN)
    after = AbsorbShift([IMAGES])(before)
    assert kinds(after) == [kind for kind in kinds(before) if kind != "Shift"]
    assert difference(before, after) <= TOLERANCE


def test_two_shifts_are_absorbed_exactly() -> None:
    second = Shift(RNG.normal(size=4))
    nodes = (conv(3, 4), RELU, SHIFT, conv(4, 4), RELU, POOL, second, conv(4, 2), FLATTEN)
    after = AbsorbShift([IMAGES])(chain(*nodes))
    assert "Shift" not in kinds(after)
    assert difference(chain(*nodes), after) <= TOLERANCE


def test_shift_is_absorbed_exactly_when_no_activation_is_positive() -> None:
    first = conv(3, 4)
    dead = dataclasses.replace(first, bias=first.bias - 1e6)
    before = chain(dead, RELU, SHIFT, conv(4, 2), FLATTEN)
    after = AbsorbShift([IMAGES])(before)
    assert "Shift" not in kinds(after)
    assert difference(before, after) <= TOLERANCE


@pytest.mark.parametrize(
    "nodes",
    [
        (Shift(np.ones(3)), conv(3, 4), FLATTEN),
        (conv(3, 4), Activation("sigmoid"), SHIFT, conv(4, 2), FLATTEN),
        (conv(3, 4), SHIFT, FLATTEN),
    ],
    ids=["at the start", "behind sigmoid", "no layer behind"],
)
def test_shift_stays_where_no_constant_reaches_it(nodes: tuple[Node, ...]) -> None:
    assert AbsorbShift([IMAGES])(chain(*nodes)).nodes == nodes


@pytest.mark.parametrize("largest_step", [127, 63])
@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (64, 5)])
def test_weights_are_rounded_to_steps_by_output_channel(
    shape: tuple[int, ...], largest_step: int
) -> None:
    kernel = np.random.default_rng(0).normal(size=shape) * np.logspace(-3, 3, 5)
    kernel[..., 2] = 0
    axes = tuple(range(len(shape) - 1))
    rounded = round_weights(kernel, axes, largest_step)
    largest = np.abs(kernel).max(axis=axes)
    assert np.allclose(np.abs(rounded).max(axis=axes), largest)
    assert (np.abs(rounded - kernel) <= largest / (2 * largest_step) * 1.0001).all()
    steps = rounded / np.where(largest > 0, largest, 1) * largest_step
    assert np.allclose(steps, np.rint(steps), atol=1e-9)
    assert np.allclose(round_weights(rounded, axes, largest_step), rounded, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (64, 5)])
def test_few_steps_are_rounded_to_with_less_error_than_without_clipping(
    shape: tuple[int, ...],
) -> None:
    kernel = np.random.default_rng(0).normal(size=shape) * np.logspace(-3, 3, 5)
    kernel[..., 2] = 0
    axes = tuple(range(len(shape) - 1))
    rounded = round_weights(kernel, axes, 7)
    size = np.abs(kernel).max(axis=axes)
    step = np.where(size > 0, size, 1) / 7
    plain = np.rint(kernel / step) * step
    errors = [((grid - kernel) ** 2).sum(axis=axes) for grid in (rounded, plain)]
    assert (errors[0] <= errors[1]).all()
    assert errors[0].sum() < errors[1].sum()
    largest = np.abs(rounded).max(axis=axes)  # what a converter takes for seven steps
    steps = rounded / np.where(largest > 0, largest, 1) * 7
    assert np.allclose(steps, np.rint(steps), atol=1e-9)
    assert ((largest > 0) == (size > 0)).all()


def test_correction_rounds_every_kernel_and_keeps_the_nodes() -> None:
    before = net()
    after = for_integers(before, IMAGES)
    assert kinds(after) == kinds(before)
    for old, new in zip(layers(before), layers(after), strict=True):
        assert np.array_equal(new.kernel, old.rounded(127).kernel)
        assert not np.array_equal(new.bias, old.bias)


def test_corrected_outputs_have_the_mean_of_the_exact_ones() -> None:
    before = net()
    after = for_integers(before, IMAGES)
    pixels = IMAGES.astype(float)
    exact, corrected = before.evaluate(pixels), after.evaluate(pixels)
    scale = exact.std(axis=0)
    assert (np.abs(corrected.mean(axis=0) - exact.mean(axis=0)) < 1e-4 * scale).all()
    assert (np.abs(corrected - exact).max(axis=0) > 1e-3 * scale).any()  # it did round


def test_correction_changes_nothing_when_weights_are_on_the_grid_already() -> None:
    once = for_integers(net(), IMAGES)
    twice = for_integers(once, IMAGES)
    for first, second in zip(layers(once), layers(twice), strict=True):
        assert np.allclose(first.kernel, second.kernel, rtol=1e-12)
        assert np.allclose(first.bias, second.bias, atol=1e-4)


def test_graph_for_integers_has_no_shift_and_the_answers_of_the_source(
    small_run: SmallRun, small_graph: Graph
) -> None:
    after = for_integers(small_graph, small_run.pixels)
    assert "Shift" in kinds(small_graph)
    assert "Shift" not in kinds(after)
    pixels = small_run.pixels[::5].astype(float)
    exact, found = small_graph.evaluate(pixels), after.evaluate(pixels)
    assert np.abs(found - exact).max() < 0.15 * exact.std()


def test_depthwise_weights_are_rounded_by_channel() -> None:
    layer = depthwise(4, 2)
    rounded = layer.rounded(127)
    for channel in range(4):
        for multiple in range(2):
            kernel = layer.kernel[:, :, channel, multiple]
            steps = rounded.kernel[:, :, channel, multiple] / np.abs(kernel).max() * 127
            assert np.allclose(steps, np.rint(steps), atol=1e-9)
            assert np.abs(steps).max() == pytest.approx(127)


def branching_net() -> Graph:
    """Two branches of one map as channels of one, rounded where there are weights."""
    concatenate = import_keras().layers.Concatenate(name="concatenate")
    join = KerasLayer.describe(concatenate, joins=True)
    first = Chain((8, 8, 3), (conv(3, 4), RELU, POOL))
    branches = [
        Chain((4, 4, 4), (node, RELU), white=None) for node in (conv(4, 4), depthwise(4, 1))
    ]
    tail = Chain((4, 4, 8), (FLATTEN, dense(128)), white=None)
    parts = (Part(first), *(Part(branch, (0,)) for branch in branches), Part(tail, (1, 2), join))
    return Graph((8, 8, 3), parts)


def test_every_part_of_a_branching_graph_is_rounded_and_corrected() -> None:
    before = branching_net()
    after = for_integers(before, IMAGES)
    for old, new in zip(layers(before), layers(after), strict=True):
        assert np.array_equal(new.kernel, old.rounded(127).kernel)
    pixels = IMAGES.astype(float)
    exact, corrected = before.evaluate(pixels), after.evaluate(pixels)
    assert np.allclose(corrected.mean(axis=0), exact.mean(axis=0), atol=1e-4 * exact.std())
    uncorrected = before.with_chains(
        [
            part.chain.with_nodes(
                *(n.rounded(127) if isinstance(n, Layer) else n for n in part.chain.nodes)
            )
            for part in before.parts
        ]
    ).evaluate(pixels)
    assert np.abs(uncorrected.mean(axis=0) - exact.mean(axis=0)).max() > 1e-3 * exact.std()


def test_float_layers_keep_their_weights_and_the_rest_is_rounded() -> None:
    first, last = dataclasses.replace(conv(3, 4), name="first"), dense(256)
    before = graph(first, RELU, FLATTEN, dataclasses.replace(last, name="last"))
    after = layers(for_integers(before, IMAGES, float_layers=["first"]))
    assert np.array_equal(after[0].kernel, first.kernel)
    assert np.array_equal(after[0].bias, first.bias)
    assert np.array_equal(after[1].kernel, last.rounded(127).kernel)


def test_weights_lie_on_the_grid_that_is_asked_for() -> None:
    before = net()
    for old, new in zip(
        layers(before), layers(for_integers(before, IMAGES, largest=63)), strict=True
    ):
        assert np.array_equal(new.kernel, old.rounded(63).kernel)
        assert not np.allclose(new.kernel, old.rounded(127).kernel)


def test_shift_becomes_a_shifted_relu_when_activations_stay_floats() -> None:
    before = graph(conv(3, 4), RELU, SHIFT, conv(4, 2), FLATTEN)
    floats = for_integers(before, IMAGES, integer_activations=False)
    assert kinds(floats) == ["Conv2D", "Maximum", "Conv2D", "Flatten"]
    integers = for_integers(before, IMAGES)
    assert kinds(integers) == ["Conv2D", "Activation", "Conv2D", "Flatten"]
