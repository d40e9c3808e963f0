import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains import FLATTEN, RELU, SIZE, difference, kinds

from edgecell_export.prepare import Chain, prepare
from edgecell_export.prepare.base import TOLERANCE
from edgecell_export.prepare.chain import (
    Activation,
    Affine,
    Conv2D,
    Dense,
    MaxPool2D,
    Node,
    Rescale,
    TrainingOnly,
)
from edgecell_runtime.heads import Head

_SCALES = st.one_of(
    st.floats(0.01, 50), st.floats(-50, -0.01), st.sampled_from([0.0, 1e-20, -1e-20, 1e-7, 1e6])
)


@st.composite
def models(draw: st.DrawFn) -> Chain:
    """Layers in any order, with BatchNormalization wherever a layer follows."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    nodes: list[Node] = [Rescale(1 / 255, draw(st.sampled_from([0.0, -0.5])))]
    channels = SIZE[2]
    for _ in range(draw(st.integers(1, 3))):
        nodes += draw(_between(channels, rng))
        nodes.append(draw(_conv(channels, rng)))
        channels = nodes[-1].kernel.shape[-1]
    nodes += [*draw(_between(channels, rng)), FLATTEN]
    width = Chain(SIZE, tuple(nodes)).evaluate(np.zeros((1, *SIZE))).shape[-1]
    if draw(st.booleans()):
        nodes.append(draw(_affine(width, rng)))
    nodes += [Dense(rng.normal(size=(width, 2)) / width, rng.normal(size=2))]
    return Chain(SIZE, (*nodes, TrainingOnly("dropout"), Activation("softmax")))


@st.composite
def _conv(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> Conv2D:
    outputs, side = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    kernel = rng.normal(size=(side, side, channels, outputs)) / side
    stride = draw(st.integers(1, 2))
    # Three valid ones of three pixels would not fit once the image has been halved.
    padding = draw(st.sampled_from(["same", "valid"])) if side * stride < 3 else "same"
    return Conv2D(kernel, rng.normal(size=outputs), (stride, stride), padding)


@st.composite
def _between(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> list[Node]:
    """Activations and poolings, then up to two BatchNormalizations."""
    choices: list[Node] = [RELU, Activation("sigmoid"), MaxPool2D((2, 2), (1, 1), "same")]
    nodes = draw(st.lists(st.sampled_from(choices), max_size=3))
    return nodes + [draw(_affine(channels, rng)) for _ in range(draw(st.integers(0, 2)))]


@st.composite
def _affine(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> Affine:
    scales = draw(st.lists(_SCALES, min_size=1, max_size=4))
    return Affine(np.resize(scales, channels), rng.normal(size=channels))


@settings(max_examples=150, deadline=None)
@given(models())
def test_preparation_keeps_answers_and_leaves_no_batchnorm_whatever_the_order(
    before: Chain,
) -> None:
    after = prepare(before, Head("softmax"))
    assert not {"Affine", "TrainingOnly"} & set(kinds(after))
    logits = before.with_nodes(*before.nodes[:-1])
    assert difference(logits, after) <= TOLERANCE
