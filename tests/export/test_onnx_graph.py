from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from support.onnx_graphs import floats, graph, integers, kinds, node, run

from edgecell_export.formats import onnx_graph, onnx_layers
from edgecell_export.formats.onnx_channels import pad_channels
from edgecell_export.formats.onnx_rewrites import (
    drop_transposes_before_dense,
    fix_reshapes,
    join_dense_biases,
)
from edgecell_runtime.errors import ConversionError


def changed(model: Any, rewrite: Callable[[Any], None], image: NDArray[np.float32]) -> bool:
    """Runs a rewrite; the answers before and after are the same. Whether it did anything."""
    before, nodes = run(model, image), kinds(model)
    stored = [item.SerializeToString() for item in model.graph.initializer]
    rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    for expected, found in zip(before, run(model, image), strict=True):
        assert np.abs(expected).max() > 0.1
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    return (nodes, stored) != (
        kinds(model),
        [item.SerializeToString() for item in model.graph.initializer],
    )


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
@pytest.mark.parametrize("bias_first", [False, True])
def test_dense_bias_is_joined_with_its_product(shape: tuple[int, ...], bias_first: bool) -> None:
    terms = ["bias", "product"] if bias_first else ["product", "bias"]
    nodes = [node("MatMul", ["image", "weights"], "product"), node("Add", terms, "logits")]
    model = graph(nodes, {"weights": floats(6, 4), "bias": floats(*shape)}, (None, 6), (None, 4))
    assert changed(model, join_dense_biases, floats(5, 6))
    assert kinds(model) == ["Gemm"]


def _product(*behind: Any, **constants: NDArray[Any]) -> Any:
    nodes = [node("MatMul", ["image", "weights"], "product"), *behind]
    return graph(nodes, {"weights": floats(6, 4), **constants}, (None, 6), (None, 4))


@pytest.mark.parametrize(
    "model",
    [
        _product(node("Add", ["product", "bias"], "logits"), bias=floats(1)),
        _product(node("Add", ["product", "bias"], "logits"), bias=floats(4, 1)[:1]),
        _product(node("Add", ["product", "bias"], "logits"), bias=floats(5, 4)),
        _product(node("Add", ["product", "product"], "logits")),
        _product(node("Relu", ["product"], "r"), node("Add", ["product", "r"], "logits")),
        _product(
            node("Add", ["product", "bias"], "sum"),
            node("Mul", ["sum", "product"], "logits"),
            bias=floats(4),
        ),
        graph(
            [node("MatMul", ["image", "weights"], "p"), node("Add", ["p", "bias"], "logits")],
            {"weights": floats(6, 4), "bias": floats(4)},
            (None, 5, 6),
            (None, 5, 4),
        ),
    ],
    ids=["scalar", "one row", "by image", "twice itself", "computed", "two users", "three axes"],
)
def test_sum_is_left_alone_when_it_is_no_dense_bias(model: Any) -> None:
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    image = floats(*(5, 5, 6)[: len(sizes) - 1], 6)
    assert not changed(model, join_dense_biases, image)


def flattened(
    order: list[int],
    *,
    sizes: tuple[int, ...] = (5, 4, 3),
    between: tuple[str, ...] = (),
    dense: str = "MatMul",
    turned: bool = False,
) -> Any:
    """Transpose, elementwise, Reshape, elementwise, dense."""
    count = int(np.prod(sizes))
    nodes, name = [node("Transpose", ["image"], "moved", perm=order)], "moved"
    for index, kind in enumerate(between):
        nodes.append(node(kind, [name], f"before{index}"))
        name = f"before{index}"
    nodes.append(node("Reshape", [name, "shape"], "flat"))
    name = "flat"
    for index, kind in enumerate(between):
        nodes.append(node(kind, [name], f"behind{index}"))
        name = f"behind{index}"
    options = {"transB": 1} if turned else {}
    given = [name, "weights"] if dense == "MatMul" else [name, "weights", "bias"]
    nodes.append(node(dense, given, "logits", **options))
    weights = floats(7, count) if turned else floats(count, 7)
    constants = {"shape": integers(-1, count), "weights": weights}
    if dense == "Gemm":
        constants["bias"] = floats(7)
    return graph(nodes, constants, (None, *sizes), (None, 7))


@pytest.mark.parametrize(
    "model",
    [
        flattened([0, 2, 3, 1]),
        flattened([0, 3, 1, 2]),
        flattened([0, 3, 2, 1], dense="Gemm"),
        flattened([0, 2, 3, 1], dense="Gemm", turned=True),
        flattened([0, 2, 3, 1], between=("Relu", "Sigmoid")),
        flattened([0, 2, 1], sizes=(5, 8)),
    ],
    ids=["to channels last", "to first", "turned", "weights turned", "elementwise", "three axes"],
)
def test_transpose_before_dense_moves_into_its_rows(model: Any) -> None:
    sizes = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim][1:]
    assert changed(model, drop_transposes_before_dense, floats(3, *sizes))
    assert "Transpose" not in kinds(model)


def test_transpose_before_dense_leaves_weights_that_others_use_as_they_were() -> None:
    model = flattened([0, 2, 3, 1])
    model.graph.node.append(node("ReduceSum", ["weights"], "total", keepdims=0))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("total", onnx.TensorProto.FLOAT, [])
    )
    model.graph.node.append(node("MatMul", ["image", "square"], "other"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(floats(3, 3), "square"))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, (None, 5, 4, 3))
    )
    assert changed(model, drop_transposes_before_dense, floats(3, 5, 4, 3))
    assert "Transpose" not in kinds(model)


def _with_two_users() -> Any:
    model = flattened([0, 2, 3, 1])
    model.graph.node.append(node("Relu", ["moved"], "other"))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, (None, 4, 3, 5))
    )
    return model


def _with_arithmetic_between() -> Any:
    nodes = [
        node("Transpose", ["image"], "moved", perm=[0, 2, 3, 1]),
        node("Mul", ["moved", "factors"], "scaled"),
        node("Reshape", ["scaled", "shape"], "flat"),
        node("MatMul", ["flat", "weights"], "logits"),
    ]
    constants = {"factors": floats(5), "shape": integers(-1, 60), "weights": floats(60, 7)}
    return graph(nodes, constants, (None, 5, 4, 3), (None, 7))


def _with_dense_by_position() -> Any:
    nodes = [
        node("Transpose", ["image"], "moved", perm=[0, 2, 3, 1]),
        node("Reshape", ["moved", "shape"], "rows"),
        node("MatMul", ["rows", "weights"], "logits"),
    ]
    constants = {"shape": integers(-1, 5), "weights": floats(5, 7)}
    return graph(nodes, constants, (None, 5, 4, 3), (None, 7))


@pytest.mark.parametrize(
    "model",
    [_with_two_users(), _with_arithmetic_between(), _with_dense_by_position()],
    ids=["two users", "factors by channel", "a dense layer by position"],
)
def test_transpose_is_left_alone_when_it_is_no_flattening(model: Any) -> None:
    assert not changed(model, drop_transposes_before_dense, floats(3, 5, 4, 3))


def test_reshape_gets_a_constant_shape_when_only_the_batch_is_open() -> None:
    nodes = [
        node("Shape", ["image"], "sizes"),
        node("Gather", ["sizes", "zero"], "batch"),
        node("Concat", ["batch", "rest"], "shape", axis=0),
        node("Reshape", ["image", "shape"], "flat"),
        node("MatMul", ["flat", "weights"], "logits"),
    ]
    constants = {"zero": integers(0), "rest": integers(12), "weights": floats(12, 2)}
    model = graph(nodes, constants, (None, 4, 3), (None, 2))
    assert changed(model, fix_reshapes, floats(5, 4, 3))
    assert kinds(model) == ["Reshape", "MatMul"]
    assert run(model, floats(9, 4, 3))[0].shape == (9, 2)


def test_reshape_is_left_alone_when_it_moves_the_batch() -> None:
    nodes = [
        node("Shape", ["image"], "sizes"),
        node("Gather", ["sizes", "zero"], "batch"),
        node("Concat", ["rest", "batch"], "shape", axis=0),
        node("Reshape", ["image", "shape"], "logits"),
    ]
    model = graph(nodes, {"zero": integers(0), "rest": integers(12)}, (None, 4, 3), (12, None))
    assert not changed(model, fix_reshapes, floats(5, 4, 3))


def convolutions(
    channels: int, *, groups: int = 1, bias: bool = True, between: str = "Relu"
) -> Any:
    nodes = [
        node("Conv", ["image", "w1", "b1"] if bias else ["image", "w1"], "one", pads=[1, 1, 1, 1]),
        node(between, ["one"], "two"),
        node("MaxPool", ["two"], "three", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["three", "w2", "b2"], "logits", pads=[1, 1, 1, 1], group=groups),
    ]
    constants = {
        "w1": floats(channels, 3, 3, 3),
        "w2": floats(5 * groups, channels // groups, 3, 3),
        "b2": floats(5 * groups),
    }
    if bias:
        constants["b1"] = floats(channels)
    return graph(nodes, constants, (None, 3, 8, 8), (None, 5 * groups, 4, 4))


@pytest.mark.parametrize(("channels", "multiple", "after"), [(9, 4, 12), (9, 16, 16), (33, 16, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_between_convolutions_are_padded(
    channels: int, multiple: int, after: int, bias: bool
) -> None:
    model = convolutions(channels, bias=bias)
    assert changed(model, lambda it: pad_channels(it, multiple), floats(2, 3, 8, 8))
    stored = {tuple(item.dims) for item in model.graph.initializer if len(item.dims) == 4}
    assert {(after, 3, 3, 3), (5, after, 3, 3)} <= stored


@pytest.mark.parametrize(
    "model",
    [convolutions(8), convolutions(9, groups=3), convolutions(9, between="Sigmoid")],
    ids=["a round number", "groups", "zeros do not stay zeros"],
)
def test_channels_are_left_alone(model: Any) -> None:
    assert not changed(model, lambda it: pad_channels(it, 16), floats(2, 3, 8, 8))


def test_channels_of_a_layer_that_stays_in_float_are_left_alone() -> None:
    model = convolutions(9)
    assert not changed(model, lambda it: pad_channels(it, 4, ["one"]), floats(2, 3, 8, 8))


def named(*scopes: str) -> Any:
    nodes = [
        node("MatMul", [f"t{index}" if index else "image", "w"], f"t{index + 1}")
        for index in range(len(scopes))
    ]
    nodes[-1].output[0] = "logits"
    model = graph(nodes, {"w": floats(3, 3)}, (None, 3), (None, 3))
    for item, scope in zip(model.graph.node, scopes, strict=True):
        item.name = scope
    return model


@pytest.mark.parametrize(
    ("scopes", "layers"),
    [
        (["m_1/first_1/conv", "m_1/second_1/conv"], ["first", "second"]),
        (["m/first/conv", "m/second/conv"], ["first", "second"]),
        (["m_1/conv_1/c", "m_1/conv_1_2/c", "m_1/conv_1_1_1/c"], ["conv", "conv_1", "conv_1_1"]),
        (["m/conv/c", "m/conv_1/c", "m/conv_1_1/c"], ["conv", "conv_1", "conv_1_1"]),
    ],
)
def test_kernels_are_named_after_their_layers(scopes: list[str], layers: list[str]) -> None:
    model = named(*scopes)
    onnx_layers.name_layers(model, layers)
    assert [item.name for item in model.graph.node] == layers


def test_second_kernel_of_a_layer_gets_a_number() -> None:
    model = named("m/twice/depth", "m/twice/point", "m/strange/conv")
    onnx_layers.name_layers(model, ["twice"])
    assert [onnx_layers.layer_of(item) for item in model.graph.node][:2] == ["twice", "twice"]
    assert len({item.name for item in model.graph.node}) == 3
    assert len(onnx_layers.in_layers(model, {"twice"})) == 2


def test_layer_that_is_not_there_is_refused() -> None:
    model = named("m/first/conv")
    onnx_layers.name_layers(model, ["first"])
    with pytest.raises(ConversionError, match=r"has no layer second .* its layers are first"):
        onnx_layers.in_layers(model, {"first", "second"})


def test_what_no_output_needs_is_dropped() -> None:
    nodes = [node("Relu", ["image"], "logits"), node("Add", ["image", "unused"], "nowhere")]
    model = graph(nodes, {"unused": floats(3), "alone": floats(2)}, (None, 3), (None, 3))
    onnx_graph.drop_unused(model)
    assert kinds(model) == ["Relu"]
    assert not model.graph.initializer


def test_rewrites_do_nothing_to_a_graph_without_their_patterns() -> None:
    for rewrite in (fix_reshapes, join_dense_biases, drop_transposes_before_dense):
        assert not changed(convolutions(8), rewrite, floats(2, 3, 8, 8))
