"""Multiply-accumulates of graphs that were counted by hand, made without a converter."""

from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from support import models

from edgecell_export.macs import onnx_macs, tflite_macs
from edgecell_runtime.errors import ConversionError

Shape = list[int]

OPSETS = [helper.make_opsetid(name, 1) for name in ("com.microsoft", "somebody.else")]
OPSETS.append(helper.make_opsetid("", 17))


def _tflite(
    kind: str,
    shapes: list[Shape],
    output: Shape,
    options: object = None,
    signatures: dict[int, Shape] | None = None,
) -> bytes:
    """One operator; an empty shape is an input that is left out."""
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, operator = [], schema.OperatorT()
    for index, shape in enumerate([*shapes, output]):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = f"t{index}", shape, 0
        tensor.shapeSignature = (signatures or {}).get(index)
        graph.tensors.append(tensor)
    operator.opcodeIndex, operator.outputs = 0, [len(shapes)]
    operator.inputs = [index if shape else -1 for index, shape in enumerate(shapes)]
    if options is not None:
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [len(shapes)]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _matrices(*, adjoint: bool) -> Any:
    options = schema.BatchMatMulOptionsT()
    options.adjX = adjoint
    return options


@pytest.mark.parametrize(
    ("kind", "shapes", "output", "expected"),
    [
        # 8 x 6 places, 5 filters of 3 x 3 x 4
        ("CONV_2D", [[1, 8, 6, 4], [5, 3, 3, 4], [5]], [1, 8, 6, 5], 8 * 6 * 5 * 36),
        # two groups: each filter sees half of the channels
        ("CONV_2D", [[1, 8, 6, 4], [6, 3, 3, 2], []], [1, 4, 3, 6], 4 * 3 * 6 * 18),
        ("DEPTHWISE_CONV_2D", [[1, 8, 6, 4], [1, 5, 3, 8], [8]], [1, 8, 6, 8], 8 * 6 * 8 * 15),
        ("FULLY_CONNECTED", [[1, 7], [3, 7], [3]], [1, 3], 21),
        ("FULLY_CONNECTED", [[1, 4, 7], [3, 7], []], [1, 4, 3], 4 * 21),
        (
            "CONV_3D",
            [[1, 4, 8, 6, 2], [3, 5, 7, 2, 9], [9]],
            [1, 4, 8, 6, 9],
            4 * 8 * 6 * 9 * (3 * 5 * 7 * 2),
        ),
        # each of 4 x 3 x 2 values is spread by 5 filters of 3 x 3
        ("TRANSPOSE_CONV", [[4], [5, 3, 3, 2], [1, 4, 3, 2]], [1, 8, 6, 5], 4 * 3 * 2 * 9 * 5),
        (
            "CONV_3D_TRANSPOSE",
            [[5], [3, 5, 7, 9, 2], [1, 2, 4, 3, 2]],
            [1, 4, 8, 6, 9],
            2 * 4 * 3 * 2 * (3 * 5 * 7 * 9),
        ),
        ("MAX_POOL_2D", [[1, 8, 6, 4]], [1, 4, 3, 4], 0),
    ],
)
def test_tflite_operator_is_counted_as_by_hand(
    kind: str, shapes: list[Shape], output: Shape, expected: int
) -> None:
    assert tflite_macs(_tflite(kind, shapes, output)) == expected


@pytest.mark.parametrize(
    ("adjoint", "first"), [(False, [1, 2, 3, 7]), (True, [1, 2, 7, 3])], ids=["plain", "adjoint"]
)
def test_tflite_product_of_matrices_is_counted_as_by_hand(adjoint: bool, first: Shape) -> None:
    model = _tflite("BATCH_MATMUL", [first, [1, 2, 7, 5]], [1, 2, 3, 5], _matrices(adjoint=adjoint))
    assert tflite_macs(model) == 2 * 3 * 5 * 7


@pytest.mark.parametrize("kind", ["CUSTOM", "WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
def test_tflite_count_is_none_when_an_operator_hides_its_products(kind: str) -> None:
    assert tflite_macs(_tflite(kind, [[1, 8]], [1, 8])) is None


def test_tflite_count_is_none_when_a_side_is_open() -> None:
    shapes = [[1, 1, 6, 4], [5, 3, 3, 4], [5]]
    opened = {0: [-1, -1, 6, 4], 3: [-1, -1, 6, 5]}
    assert tflite_macs(_tflite("CONV_2D", shapes, [1, 1, 6, 5], signatures=opened)) is None


def test_tflite_open_batch_is_one() -> None:
    assert tflite_macs(models.tflite_model()) == models.INPUTS * models.OUTPUTS


def _onnx(
    kind: str,
    shapes: list[Shape],
    constants: dict[int, Shape],
    batch: int | str = "batch",
    *,
    domain: str = "",
    **attributes: Any,
) -> bytes:
    """One operator of float32; constants by the place where it takes them."""
    places = range(len(shapes) + len(constants))
    given = iter(shapes)
    inputs = [
        helper.make_tensor_value_info(f"x{place}", TensorProto.FLOAT, [batch, *next(given)[1:]])
        for place in places
        if place not in constants
    ]
    stored = [
        helper.make_tensor(f"x{place}", TensorProto.FLOAT, shape, np.zeros(shape, np.float32))
        for place, shape in constants.items()
    ]
    node = helper.make_node(
        kind, [f"x{place}" for place in places], ["y"], domain=domain, **attributes
    )
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", inputs, [answer], stored)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=OPSETS)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "shapes", "constants", "attributes", "expected"),
    [
        ("Conv", [[1, 4, 8, 6]], {1: [5, 4, 3, 3]}, {"pads": [1, 1, 1, 1]}, 8 * 6 * 5 * 36),
        ("Conv", [[1, 4, 8, 6]], {1: [6, 2, 3, 3], 2: [6]}, {"group": 2}, 6 * 4 * 6 * 18),
        ("Conv", [[1, 4, 8, 6]], {1: [4, 1, 3, 3]}, {"group": 4, "strides": [2, 2]}, 3 * 2 * 4 * 9),
        ("Conv", [[1, 2, 4, 8, 6]], {1: [9, 2, 3, 5, 3]}, {}, 2 * 4 * 4 * 9 * 90),
        ("ConvTranspose", [[1, 2, 4, 3]], {1: [2, 5, 3, 3]}, {"strides": [2, 2]}, 24 * 45),
        ("Gemm", [[1, 7]], {1: [7, 3], 2: [3]}, {}, 21),
        ("Gemm", [[1, 7]], {1: [3, 7]}, {"transB": 1}, 21),
        ("MatMul", [[1, 4, 7]], {1: [7, 3]}, {}, 4 * 21),
        ("MatMul", [[1, 2, 4, 7], [1, 2, 7, 3]], {}, {}, 2 * 4 * 21),
        ("MaxPool", [[1, 4, 8, 6]], {}, {"kernel_shape": [2, 2]}, 0),
    ],
)
def test_onnx_operator_is_counted_as_by_hand(
    kind: str,
    shapes: list[Shape],
    constants: dict[int, Shape],
    attributes: dict[str, Any],
    expected: int,
) -> None:
    assert onnx_macs(_onnx(kind, shapes, constants, **attributes)) == expected


def test_onnx_product_of_a_transposed_matrix_is_counted_as_by_hand() -> None:
    model = _onnx("Gemm", [[7, 5]], {1: [7, 3]}, batch=7, transA=1)
    assert onnx_macs(model) == 7 * 5 * 3


def test_onnx_runtimes_4_bit_product_is_counted_and_seen_through() -> None:
    """``(1, 64) -> MatMulNBits -> (1, 6) -> Gemm -> (1, 2)``."""
    stored = helper.make_tensor("w", TensorProto.UINT8, [6, 2, 16], np.zeros((6, 2, 16), np.uint8))
    scales = helper.make_tensor("s", TensorProto.FLOAT, [12], np.zeros(12, np.float32))
    second = helper.make_tensor("v", TensorProto.FLOAT, [6, 2], np.zeros((6, 2), np.float32))
    nodes = [
        helper.make_node(
            "MatMulNBits",
            ["x", "w", "s"],
            ["h"],
            domain="com.microsoft",
            K=64,
            N=6,
            bits=4,
            block_size=32,
        ),
        helper.make_node("Gemm", ["h", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [stored, scales, second],
    )
    assert (
        onnx_macs(helper.make_model(graph, opset_imports=OPSETS).SerializeToString())
        == 64 * 6 + 6 * 2
    )


def test_onnx_quantisation_of_16_bits_is_seen_through() -> None:
    """``(1, 7) -> QuantizeLinear -> DequantizeLinear -> Gemm``, in ONNX Runtime's domain."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5])
    zero = helper.make_tensor("zero", TensorProto.UINT16, [], [9])
    weights = helper.make_tensor("v", TensorProto.FLOAT, [7, 2], np.zeros((7, 2), np.float32))
    parameters = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **parameters),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["h"], **parameters),
        helper.make_node("Gemm", ["h", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [scale, zero, weights],
    )
    assert onnx_macs(helper.make_model(graph, opset_imports=OPSETS).SerializeToString()) == 14


@pytest.mark.parametrize(
    ("kind", "domain"), [("Einsum", ""), ("QGemm", "com.microsoft"), ("Own", "somebody.else")]
)
def test_onnx_count_is_none_when_an_operator_hides_its_products(kind: str, domain: str) -> None:
    attributes = {"equation": "ab,bc->ac"} if kind == "Einsum" else {}
    model = _onnx(kind, [[1, 7]], {1: [7, 3]}, domain=domain, **attributes)
    assert onnx_macs(model) is None


def test_onnx_count_is_none_when_a_side_is_open() -> None:
    model = onnx.load_model_from_string(_onnx("Conv", [[1, 4, 8, 6]], {1: [5, 4, 3, 3]}))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    assert onnx_macs(model.SerializeToString()) is None


def test_onnx_open_batch_is_one() -> None:
    assert onnx_macs(models.onnx_model()) == models.INPUTS * models.OUTPUTS


def test_onnx_file_that_is_none_is_refused_with_our_error() -> None:
    with pytest.raises(ConversionError, match="The shapes of the ONNX model cannot be derived"):
        onnx_macs(b"\x0anonsense")
