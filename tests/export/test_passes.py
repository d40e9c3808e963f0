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
    difference,
    graph,
    kinds,
)

from edgecell_export.prepare import taking_fractions
from edgecell_export.prepare.arrays import Padding
from edgecell_export.prepare.base import TOLERANCE, Pass
from edgecell_export.prepare.drop_training import DropTraining
from edgecell_export.prepare.end_in_logits import EndInLogits
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.fold_rescaling import FoldRescaling
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    Conv2D,
    MaxPool2D,
    Node,
    Rescale,
    Shift,
    TrainingOnly,
)
from edgecell_runtime.errors import PreparationError
from edgecell_runtime.heads import Head

SCALES = {
    "ordinary": (0.07, 1.3, 32.0, 2.0),
    "negative": (-0.5, 1.0, -8.0, 3.0),
    "zero": (0.0, 1.0, -0.0, -2.0),
    "tiny": (1e-20, -1e-20, 1.0, 1e-9),
    "huge": (1e9, -1e9, 1.0, 2.0),
}
ORDERS: dict[str, tuple[Node, ...]] = {
    "behind the layer": (conv(3, 4),),
    "behind relu": (conv(3, 4), RELU),
    "behind pooling": (conv(3, 4), POOL),
    "behind relu and pooling": (conv(3, 4), RELU, POOL),
    "behind padded pooling": (conv(3, 4), RELU, MaxPool2D((3, 3), (2, 2), "same")),
    "behind sigmoid": (conv(3, 4), Activation("sigmoid")),
}


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
@pytest.mark.parametrize("nodes", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_batchnorm_is_folded_exactly(
    nodes: tuple[Node, ...], scales: tuple[float, ...], padding: Padding
) -> None:
    before = chain(*nodes, batchnorm(*scales), conv(4, 2, padding), FLATTEN)
    after = FoldBatchNorm()(before)
    assert "Affine" not in kinds(after)
    assert difference(before, after) <= TOLERANCE


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
def test_batchnorm_is_folded_exactly_when_flatten_and_dense_follow(
    scales: tuple[float, ...],
) -> None:
    before = chain(conv(3, 4), RELU, POOL, batchnorm(*scales), FLATTEN, dense(64))
    after = FoldBatchNorm()(before)
    assert kinds(after) == ["Conv2D", "Activation", "MaxPool2D", "Flatten", "Dense"]
    assert difference(before, after) <= TOLERANCE


def test_batchnorm_is_folded_exactly_when_it_stands_behind_flatten() -> None:
    scales = RNG.normal(size=64)
    before = chain(conv(3, 4), RELU, POOL, FLATTEN, batchnorm(*scales), dense(64))
    assert difference(before, FoldBatchNorm()(before)) <= TOLERANCE


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_two_batchnorms_in_a_row_are_folded_exactly(padding: Padding) -> None:
    two = (batchnorm(*SCALES["negative"]), batchnorm(*SCALES["ordinary"]))
    before = chain(conv(3, 4), RELU, POOL, *two, conv(4, 2, padding), FLATTEN)
    assert difference(before, FoldBatchNorm()(before)) <= TOLERANCE


@pytest.mark.parametrize("scales", [(0.5, 2.0, 3.0), (0.5, -2.0, 3.0), (0.5, 0.0, 3.0)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_batchnorm_is_folded_exactly_when_the_model_starts_with_it(
    scales: tuple[float, ...], padding: Padding
) -> None:
    before = chain(batchnorm(*scales), conv(3, 4, padding), FLATTEN)
    after = FoldBatchNorm()(before)
    assert "Affine" not in kinds(after)
    assert difference(before, after) <= TOLERANCE


def test_batchnorm_is_folded_exactly_when_pooling_follows_and_no_scale_is_negative() -> None:
    scales = (0.0, 1.0, 0.2, 7.0)
    before = chain(conv(3, 4), RELU, batchnorm(*scales), POOL, conv(4, 2), FLATTEN)
    after = FoldBatchNorm()(before)
    assert "Affine" not in kinds(after)
    assert difference(before, after) <= TOLERANCE


def test_batchnorm_between_pooling_and_relu_goes_back_when_no_scale_is_negative() -> None:
    before = chain(conv(3, 4), POOL, batchnorm(0.0, 1.0, 0.2, 7.0), RELU, conv(4, 2), FLATTEN)
    after = FoldBatchNorm()(before)
    assert kinds(after) == ["Conv2D", "MaxPool2D", "Activation", "Conv2D", "Flatten"]
    assert difference(before, after) <= TOLERANCE


@pytest.mark.parametrize(
    "nodes",
    [
        (conv(3, 4), FLATTEN, dense(256, 4), RELU, batchnorm(1.0, 2.0, 3.0, 4.0)),
        (conv(3, 4), RELU, batchnorm(1.0, -2.0, 3.0, 4.0), POOL, conv(4, 2)),
        (conv(3, 4), POOL, batchnorm(1.0, -2.0, 3.0, 4.0), RELU, conv(4, 2)),
        (batchnorm(1.0, 2.0, 3.0),),
    ],
    ids=["at the end", "negative before pooling", "negative behind pooling", "alone"],
)
def test_batchnorm_is_left_alone_when_no_layer_can_take_it(nodes: tuple[Node, ...]) -> None:
    assert FoldBatchNorm()(chain(*nodes)).nodes == nodes


def test_folding_splits_an_ordinary_scale_between_both_sides() -> None:
    first, second = conv(3, 4), conv(4, 2, "valid")
    before = chain(first, RELU, batchnorm(0.25, 4.0, 16.0, 1.0), second, FLATTEN)
    after = FoldBatchNorm()(before)
    folded = [node for node in after.nodes if isinstance(node, Conv2D)]
    roots = np.array([0.5, 2.0, 4.0, 1.0])
    assert np.allclose(folded[0].kernel, first.kernel * roots)
    assert np.allclose(folded[1].kernel, second.kernel * roots[:, None])


def test_folding_keeps_shifts_small_when_a_scale_is_tiny() -> None:
    affine = Affine(np.array([0.0, 1e-20, -1e-7, 1.0]), np.full(4, 0.5))
    after = FoldBatchNorm()(chain(conv(3, 4), RELU, affine, conv(4, 2), FLATTEN))
    shift = next(node for node in after.nodes if isinstance(node, Shift))
    assert np.abs(shift.shift).max() == 0.5


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("offset", [0.0, -1.0])
def test_rescaling_is_folded_where_padding_allows(padding: Padding, offset: float) -> None:
    before = chain(Rescale(1 / 127.5, offset), conv(3, 4, padding), FLATTEN)
    after = FoldRescaling()(before)
    assert ("Shift" in kinds(after)) == (padding == "same" and offset != 0)
    assert "Rescale" not in kinds(after)
    assert difference(before, after) <= TOLERANCE


def test_rescaling_is_folded_exactly_when_there_are_two_and_flatten_follows() -> None:
    before = chain(Rescale(1 / 255, 0.0), FLATTEN, dense(192))
    twice = chain(Rescale(2.0, -1.0), *FoldRescaling()(before).nodes)
    assert kinds(FoldRescaling()(twice)) == ["Flatten", "Dense"]
    assert difference(twice, FoldRescaling()(twice)) <= TOLERANCE


def test_taking_fractions_answers_the_same_for_pixels_divided_by_255() -> None:
    before = graph(Rescale(1 / 255, 0.0), conv(3, 4), FLATTEN).map(FoldRescaling())
    after = taking_fractions(before)
    assert (after.white, kinds(after)) == (1.0, ["Conv2D", "Flatten"])
    assert np.allclose(after.evaluate(PIXELS / 255), before.evaluate(PIXELS), rtol=1e-12)


def test_taking_fractions_moves_the_shift_that_an_offset_left_before_padding() -> None:
    before = graph(Rescale(1 / 127.5, -1.0), conv(3, 4), FLATTEN)
    after = taking_fractions(before.map(FoldRescaling()))
    assert (after.white, kinds(after)) == (1.0, ["Shift", "Conv2D", "Flatten"])
    assert np.allclose(after.parts[0].chain.nodes[0].shift, -0.5)
    assert difference(before, after) <= TOLERANCE


def test_training_layers_are_dropped_and_nothing_else() -> None:
    nodes = (conv(3, 4), TrainingOnly("dropout"), FLATTEN, TrainingOnly("noise"), dense(256))
    after = DropTraining()(chain(*nodes))
    assert after.nodes == (nodes[0], nodes[2], nodes[4])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (Head("softmax"), "softmax"),
        (Head("normalised_sigmoid"), "sigmoid"),
        (Head("sigmoid", "Parasitized"), "sigmoid"),
    ],
)
def test_last_activation_is_left_to_the_head(head: Head, kind: str) -> None:
    last = Activation("softmax" if kind == "softmax" else "sigmoid")
    before = chain(FLATTEN, dense(192), last)
    assert EndInLogits(head)(before).nodes == before.nodes[:-1]


@pytest.mark.parametrize(
    ("last", "found"),
    [((Activation("sigmoid"),), "sigmoid"), ((), "no activation")],
)
def test_last_activation_is_refused_when_it_is_not_the_heads(
    last: tuple[Node, ...], found: str
) -> None:
    message = f"The model ends in {found}, its head expects softmax"
    with pytest.raises(PreparationError, match=message):
        EndInLogits(Head("softmax"))(chain(FLATTEN, dense(192), *last))


class _Liar(Pass):
    name = "liar"

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def rewrite(self, chain: Chain) -> Chain:
        return chain.with_nodes(*chain.nodes, Rescale(self._factor, 0.0))


@pytest.mark.parametrize("factor", [1 + 1e-8, 0.0, np.nan])
def test_pass_is_refused_when_it_changes_answers(factor: float) -> None:
    with pytest.raises(PreparationError, match="The pass liar changed the model's answers by"):
        _Liar(factor)(chain(conv(3, 4), FLATTEN))


def test_pass_may_round() -> None:
    after = _Liar(1 + 1e-11)(chain(conv(3, 4), FLATTEN))
    assert kinds(after) == ["Conv2D", "Flatten", "Rescale"]


class _Guarded(_Liar):
    def requires(self, chain: Chain) -> None:
        if not chain.nodes:
            raise PreparationError("required")

    def ensures(self, chain: Chain) -> None:
        if len(chain.nodes) > 2:
            raise PreparationError("ensured")


@pytest.mark.parametrize(("nodes", "said"), [((), "required"), ((FLATTEN, RELU), "ensured")])
def test_pass_is_refused_when_its_conditions_fail(nodes: tuple[Node, ...], said: str) -> None:
    with pytest.raises(PreparationError, match=said):
        _Guarded(1.0)(chain(*nodes))


@pytest.mark.parametrize("where", ["kernel", "scale"])
def test_weights_that_are_not_numbers_are_refused(where: str) -> None:
    layer, affine = conv(3, 4), batchnorm(1.0, 2.0, 3.0, 4.0)
    (layer.kernel if where == "kernel" else affine.scale)[..., 0] = np.nan
    with pytest.raises(PreparationError, match="Weights that are not finite do that"):
        FoldBatchNorm()(chain(layer, affine, FLATTEN))
