import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chains import FLATTEN, PIXELS, RELU, SIZE, difference, kinds

from edgecell_export.prepare import for_floats, for_integers, prepare, taking_fractions
from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.base import TOLERANCE
from edgecell_export.prepare.graph import IMAGE, Chain, Graph, Part
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GlobalAveragePool2D,
    MaxPool2D,
    Node,
    Rescale,
    TrainingOnly,
    ZeroPad2D,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head

_SCALES = st.one_of(
    st.floats(0.01, 50), st.floats(-50, -0.01), st.sampled_from([0.0, 1e-20, -1e-20, 1e-7, 1e6])
)
_STARTS: list[list[Node]] = [
    [],
    [Rescale(1 / 255, 0.0)],
    [Rescale(1 / 127.5, -1.0)],
    [Rescale(-1 / 255, 1.0)],
    [Rescale(1.0, -128.0), Rescale(1 / 255, 0.5)],
]
_BETWEEN: list[Node] = [
    RELU,
    RELU,
    Activation("sigmoid"),
    MaxPool2D((2, 2), (1, 1), "same"),
    AveragePool2D((2, 2), (1, 1), "same"),
    AveragePool2D((3, 1), (1, 1), "valid"),
    ZeroPad2D((1, 0), (2, 1)),
    TrainingOnly("noise"),
]
_LAYERS = {"Conv2D", "DepthwiseConv2D", "Dense"}


@st.composite
def models(draw: st.DrawFn, start: list[list[Node]] = _STARTS) -> Chain:
    """Nodes of every kind in any order, from pixels to probabilities."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    nodes = [*draw(st.sampled_from(start)), *draw(_body(SIZE[2], rng))]
    nodes += draw(st.sampled_from([[FLATTEN], [GlobalAveragePool2D()], [_KEPT, FLATTEN]]))
    width = _width(nodes)
    nodes += [draw(_affine(width, rng)) for _ in range(draw(st.integers(0, 1)))]
    nodes += [Dense(rng.normal(size=(width, 2)) / width, rng.normal(size=2), "last")]
    return Chain(SIZE, (*nodes, TrainingOnly("dropout"), Activation("softmax")))


_KEPT = GlobalAveragePool2D(keep_dimensions=True)


def _width(nodes: list[Node], channels: int = SIZE[2]) -> int:
    shape = (*SIZE[:2], channels)
    try:
        return int(Chain(shape, tuple(nodes)).evaluate(np.zeros((1, *shape))).shape[-1])
    except ValueError:  # a window that the map became too small for
        assume(False)
        raise


@st.composite
def _body(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> list[Node]:
    nodes: list[Node] = []
    for _ in range(draw(st.integers(1, 3))):
        nodes += draw(_between(channels, rng))
        nodes.append(draw(_layer(channels, rng)))
        channels = _width([nodes[-1]], channels)
    return nodes + draw(_between(channels, rng))


@st.composite
def _layer(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> Node:
    outputs, side = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 2))
    # Three valid ones of three pixels would not fit once the image has been halved.
    padding = draw(st.sampled_from(["same", "valid"])) if side * stride < 3 else "same"
    kind = draw(st.sampled_from(["full", "full", "depthwise", "dense"]))
    if kind == "dense":
        return Dense(rng.normal(size=(channels, outputs)), rng.normal(size=outputs))
    if kind == "depthwise":
        kernel = rng.normal(size=(side, side, channels, (outputs + 1) // 2)) / side
        bias = rng.normal(size=kernel.shape[2] * kernel.shape[3])
        return DepthwiseConv2D(kernel, bias, (stride, stride), padding)
    kernel = rng.normal(size=(side, side, channels, outputs)) / side
    return Conv2D(kernel, rng.normal(size=outputs), (stride, stride), padding)


@st.composite
def _between(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> list[Node]:
    """Whatever may stand between two layers, with BatchNormalization anywhere."""
    nodes = list(draw(st.lists(st.sampled_from(_BETWEEN), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        nodes.insert(draw(st.integers(0, len(nodes))), draw(_affine(channels, rng)))
    return nodes if _keeps_rows(nodes) else []


def _keeps_rows(nodes: list[Node]) -> bool:
    """Whether less than one row is lost, so that what follows still fits."""
    return sum(isinstance(n, AveragePool2D) and n.padding == "valid" for n in nodes) <= sum(
        isinstance(n, ZeroPad2D) for n in nodes
    )


@st.composite
def _affine(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> Affine:
    scales = draw(st.lists(_SCALES, min_size=1, max_size=4))
    return Affine(np.resize(scales, channels), rng.normal(size=channels))


def logits_of(graph: Graph) -> Graph:
    """Without the last activation, whose steps are too small to be compared."""
    return graph.with_last(graph.last.with_nodes(*graph.last.nodes[:-1]))


def assert_nothing_is_left_to_fold(graph: Graph) -> None:
    assert "TrainingOnly" not in kinds(graph)
    for part in graph.parts:
        found = kinds(part.chain)
        for pair in itertools.pairwise(found):
            assert not ("Affine" in pair and set(pair) & _LAYERS), found
            assert pair != ("Affine", "Affine"), found


@settings(max_examples=200, deadline=None)
@given(models())
def test_preparation_keeps_answers_whatever_the_order(before: Chain) -> None:
    graph = Graph(SIZE, (Part(before),))
    after = prepare(graph, Head("softmax"))
    assert_nothing_is_left_to_fold(after)
    assert difference(logits_of(graph), after) <= TOLERANCE
    assert difference(logits_of(graph), for_floats(after)) <= TOLERANCE
    fractions = taking_fractions(after)
    assert fractions.white == 1
    assert difference(logits_of(graph), fractions) <= TOLERANCE


@settings(max_examples=100, deadline=None)
@given(models(start=_STARTS[1:]))
def test_rescaling_at_the_start_goes_into_the_first_layer_when_nothing_stops_it(
    before: Chain,
) -> None:
    after = prepare(Graph(SIZE, (Part(before),)), Head("softmax"))
    found = kinds(after)
    to_layer = found[: min(found.index(kind) for kind in _LAYERS & set(found))]
    if "Rescale" in to_layer:
        # A factor may be negative, which max pooling does not let pass.
        assert {"Activation", "MaxPool2D"} & set(to_layer)


_NO_ROUNDING = 2**40
"""Steps of a weight: nothing is rounded, only the form for integers is left."""


@settings(max_examples=40, deadline=None)
@given(models(), st.booleans())
def test_form_for_integers_keeps_answers_when_weights_are_not_rounded(
    before: Chain, integer_activations: bool
) -> None:
    prepared = prepare(Graph(SIZE, (Part(before),)), Head("softmax"))
    after = for_integers(
        prepared,
        PIXELS.astype(np.uint8),
        largest=_NO_ROUNDING,
        integer_activations=integer_activations,
    )
    assert difference(prepared, after) <= 1e-4  # biases are corrected over float32


def _join(kind: str) -> KerasLayer:
    return KerasLayer.describe(getattr(import_keras().layers, kind)(name=kind), joins=True)


@st.composite
def branching(draw: st.DrawFn) -> tuple[Graph, str]:
    """A chain, two branches of it, and the name of what joins them, for ``_join``."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    nodes = [*draw(st.sampled_from(_STARTS)), *draw(_body(SIZE[2], rng))]
    start = Chain(SIZE, tuple(nodes))
    try:
        shape = start.evaluate(PIXELS[:1]).shape[1:]
    except ValueError:  # a window that the map became too small for
        assume(False)
    branches = [Chain(shape, (*draw(_same_shape(shape[-1], rng)),), white=None) for _ in range(2)]
    kind = draw(st.sampled_from(["Add", "Multiply", "Concatenate", "Maximum"]))
    width = shape[-1] * (2 if kind == "Concatenate" else 1)
    end = [draw(_affine(width, rng)), *draw(_same_shape(width, rng)), GlobalAveragePool2D()]
    last = Dense(rng.normal(size=(width, 2)), rng.normal(size=2), "last")
    tail = Chain((*shape[:2], width), (*end, last, Activation("softmax")), white=None)
    parts = (
        Part(start, (IMAGE,)),
        Part(branches[0], (0,)),
        Part(branches[1], (0,)),
        Part(tail, (1, 2)),
    )
    return Graph(SIZE, parts), kind


@st.composite
def _same_shape(draw: st.DrawFn, channels: int, rng: np.random.Generator) -> list[Node]:
    kernel = rng.normal(size=(3, 3, channels, channels)) / 3
    conv = Conv2D(kernel, rng.normal(size=channels), (1, 1), "same")
    before = [draw(_affine(channels, rng)) for _ in range(draw(st.integers(0, 1)))]
    after = [draw(_affine(channels, rng)) for _ in range(draw(st.integers(0, 2)))]
    return [*before, conv, *draw(st.sampled_from([[], [RELU]])), *after]


@settings(max_examples=25, deadline=None)
@given(branching())
def test_preparation_keeps_answers_of_a_model_that_branches(drawn: tuple[Graph, str]) -> None:
    parts = list(drawn[0].parts)
    parts[-1] = dataclasses.replace(parts[-1], join=_join(drawn[1]))
    before = Graph(SIZE, tuple(parts))
    after = prepare(before, Head("softmax"))
    assert_nothing_is_left_to_fold(after)
    forms: list[Callable[[Graph], Graph]] = [lambda graph: graph, for_floats, taking_fractions]
    for form in forms:
        assert difference(logits_of(before), form(after)) <= TOLERANCE


def test_a_wrong_branch_does_not_go_unnoticed() -> None:
    """The comparison itself can fail: a branch that is off by a millionth is seen."""
    rng = np.random.default_rng(0)

    def net(factor: float) -> Graph:
        start = Chain(SIZE, (Rescale(1 / 255, 0.0),))
        branch = Chain(SIZE, (Rescale(factor, 0.0),), white=None)
        ones: Array = np.ones(2)
        last = Dense(np.asarray(rng.normal(size=(3, 2))) * 0 + 1, ones)
        tail = Chain(SIZE, (GlobalAveragePool2D(), last), white=None)
        parts = (Part(start), Part(branch, (0,)), Part(tail, (0, 1), _join("Add")))
        return Graph(SIZE, parts)

    assert difference(net(2.0), net(2.0)) == 0
    assert difference(net(2.0), net(2.000001)) > TOLERANCE
