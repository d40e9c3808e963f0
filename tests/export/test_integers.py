import dataclasses

import numpy as np
import pytest
from support.chains import FLATTEN, POOL, RELU, RNG, chain, conv, dense, difference, kinds
from support.small_run import SmallRun

from edgecell_export.prepare import Chain, for_integers
from edgecell_export.prepare.absorb_shift import AbsorbShift
from edgecell_export.prepare.base import TOLERANCE
from edgecell_export.prepare.chain import Activation, Conv2D, Dense, Node, Padding, Shift
from edgecell_export.prepare.integers import correct_biases, round_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
SHIFT = Shift(np.array([0.5, -2.0, 30.0, 0.0]))


def net() -> Chain:
    return chain(conv(3, 4), RELU, POOL, FLATTEN, dense(64))


def layers(of: Chain) -> list[Conv2D | Dense]:
    return [node for node in of.nodes if isinstance(node, Conv2D | Dense)]


@pytest.mark.parametrize("between", [(), (RELU,), (POOL,), (RELU, POOL)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_shift_before_a_convolution_is_absorbed_exactly(
    between: tuple[Node, ...], padding: Padding
) -> None:
    before = chain(conv(3, 4), *between, SHIFT, conv(4, 2, padding), FLATTEN)
    after = AbsorbShift(IMAGES)(before)
    assert kinds(after) == [kind for kind in kinds(before) if kind != "Shift"]
    assert difference(before, after) <= TOLERANCE


def test_two_shifts_are_absorbed_exactly() -> None:
    second = Shift(RNG.normal(size=4))
    nodes = (conv(3, 4), RELU, SHIFT, conv(4, 4), RELU, POOL, second, conv(4, 2), FLATTEN)
    after = AbsorbShift(IMAGES)(chain(*nodes))
    assert "Shift" not in kinds(after)
    assert difference(chain(*nodes), after) <= TOLERANCE


def test_shift_is_absorbed_exactly_when_no_activation_is_positive() -> None:
    first = conv(3, 4)
    dead = dataclasses.replace(first, bias=first.bias - 1e6)
    before = chain(dead, RELU, SHIFT, conv(4, 2), FLATTEN)
    after = AbsorbShift(IMAGES)(before)
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
    assert AbsorbShift(IMAGES)(chain(*nodes)).nodes == nodes


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (64, 5)])
def test_weights_are_rounded_to_127_steps_by_output_channel(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape) * np.logspace(-3, 3, 5)
    kernel[..., 2] = 0
    axes = tuple(range(len(shape) - 1))
    rounded = round_weights(kernel)
    largest = np.abs(kernel).max(axis=axes)
    assert np.allclose(np.abs(rounded).max(axis=axes), largest)
    assert (np.abs(rounded - kernel) <= largest / 254 * 1.0001).all()
    steps = rounded / np.where(largest > 0, largest, 1) * 127
    assert np.allclose(steps, np.rint(steps), atol=1e-9)
    assert np.allclose(round_weights(rounded), rounded, rtol=1e-12)


def test_correction_rounds_every_kernel_and_keeps_the_nodes() -> None:
    before = net()
    after = correct_biases(before, IMAGES)
    assert kinds(after) == kinds(before)
    for old, new in zip(layers(before), layers(after), strict=True):
        assert np.array_equal(new.kernel, round_weights(old.kernel))
        assert not np.array_equal(new.bias, old.bias)


def test_corrected_outputs_have_the_mean_of_the_exact_ones() -> None:
    before = net()
    after = correct_biases(before, IMAGES)
    pixels = IMAGES.astype(float)
    exact, corrected = before.evaluate(pixels), after.evaluate(pixels)
    scale = exact.std(axis=0)
    assert (np.abs(corrected.mean(axis=0) - exact.mean(axis=0)) < 1e-4 * scale).all()
    assert (np.abs(corrected - exact).max(axis=0) > 1e-3 * scale).any()  # it did round


def test_correction_changes_nothing_when_weights_are_on_the_grid_already() -> None:
    once = correct_biases(net(), IMAGES)
    twice = correct_biases(once, IMAGES)
    for first, second in zip(layers(once), layers(twice), strict=True):
        assert np.allclose(first.kernel, second.kernel, rtol=1e-12)
        assert np.allclose(first.bias, second.bias, atol=1e-4)


def test_chain_for_integers_has_no_shift_and_the_answers_of_the_source(
    small_run: SmallRun, small_chain: Chain
) -> None:
    after = for_integers(small_chain, small_run.pixels)
    assert "Shift" in kinds(small_chain)
    assert "Shift" not in kinds(after)
    pixels = small_run.pixels[::5].astype(float)
    exact, found = small_chain.evaluate(pixels), after.evaluate(pixels)
    assert np.abs(found - exact).max() < 0.15 * exact.std()
