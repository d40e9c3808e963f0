"""How many multiply-accumulates a model file takes for one query, from its static shapes.

Counted are convolutions and products of matrices, as the file has them: what a conversion added,
such as channels of zeros, counts too. Taps that fall on the padding count, as is usual. Additions,
pooling, activations and scaling do not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edgecell_runtime.errors import ConversionError, MissingPartError

Shape = tuple[int | None, ...]
"""Of a tensor; None for a size that the file leaves open."""

_Rule = Callable[[Sequence[Shape], Shape, Any], int | None]
"""From an operator's input shapes, its output shape and its options."""


def tflite_macs(model: bytes) -> int | None:
    """Counts them in a TFLite file.

    Args:
        model: The file.

    Returns:
        For a batch of one; None where a shape is open, or an operator hides its products, as loops,
        recurrent layers and custom operators do.

    Raises:
        MissingPartError: LiteRT, which brings the format's schema, is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingPartError(
            "Counting the operations of TFLite needs LiteRT: pip install 'edgecell[tflite]'."
        ) from error
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    graph = parsed.subgraphs[0]
    shapes = [_tflite_shape(tensor) for tensor in graph.tensors]
    total = 0
    for operator in graph.operators:
        code = parsed.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name in _TFLITE_HIDING:
            return None
        if name not in _TFLITE_RULES:
            continue
        # A missing optional input, such as a bias, has the index -1.
        inputs = [shapes[index] if index >= 0 else () for index in operator.inputs]
        output = shapes[operator.outputs[0]]
        count = _TFLITE_RULES[name](inputs, output, operator.builtinOptions)
        if count is None:
            return None
        total += count
    return total


def onnx_macs(model: bytes) -> int | None:
    """Counts them in an ONNX file.

    Args:
        model: The file.

    Returns:
        See ``tflite_macs``.

    Raises:
        MissingPartError: onnx is not installed.
        ConversionError: onnx cannot read the file or derive its shapes.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPartError(
            "Counting the operations of ONNX needs onnx: pip install 'edgecell[export]'."
        ) from error
    try:
        parsed = onnx.load_model_from_string(model)
        shapes = _onnx_shapes(onnx, parsed)
    except Exception as error:  # protobuf's and onnx's exceptions share no base but Exception
        raise ConversionError(f"The shapes of the ONNX model cannot be derived: {error}") from error
    total = 0
    for node in parsed.graph.node:
        if node.op_type not in _ONNX_RULES:
            own = node.domain in {"", "ai.onnx"} or node.op_type in _SAME_SHAPE
            if not own or node.op_type in _ONNX_HIDING:
                return None
            continue
        options = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        inputs = [shapes.get(name, (None,)) for name in node.input]
        output = shapes.get(node.output[0], (None,))
        count = _ONNX_RULES[node.op_type](inputs, output, options)
        if count is None:
            return None
        total += count
    return total


def _product(*shapes: Shape) -> int | None:
    sizes = [size for shape in shapes for size in shape]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _tflite_shape(tensor: Any) -> Shape:
    """Where the file leaves the batch open, its shape says 1; where another size, nothing sure."""
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    signature = shape if tensor.shapeSignature is None else tensor.shapeSignature
    pairs = list(zip(shape, signature, strict=True))
    return tuple(
        size if known >= 0 or place == 0 else None for place, (size, known) in enumerate(pairs)
    )


def _tflite_matrices(inputs: Sequence[Shape], output: Shape, options: Any) -> int | None:
    first = inputs[0]
    return _product(output, first[-2:-1] if options.adjX else first[-1:])


_TFLITE_RULES: Final[Mapping[str, _Rule]] = {
    # Weights (output channels, height, width, input channels of a group)
    "CONV_2D": lambda inputs, output, _: _product(output, inputs[1][1:]),
    # (1, height, width, output channels)
    "DEPTHWISE_CONV_2D": lambda inputs, output, _: _product(output, inputs[1][1:3]),
    # (depth, height, width, input channels, output channels)
    "CONV_3D": lambda inputs, output, _: _product(output, inputs[1][:4]),
    # A transposed one spreads each value of its input, the third operand.
    "TRANSPOSE_CONV": lambda inputs, _, __: _product(inputs[2], inputs[1][:3]),
    # (depth, height, width, output channels, input channels)
    "CONV_3D_TRANSPOSE": lambda inputs, _, __: _product(inputs[2], inputs[1][:4]),
    # (outputs, inputs)
    "FULLY_CONNECTED": lambda inputs, output, _: _product(output, inputs[1][1:]),
    "BATCH_MATMUL": _tflite_matrices,
}

_TFLITE_HIDING: Final = frozenset(
    {
        *("CUSTOM", "DELEGATE", "CALL", "CALL_ONCE", "IF", "WHILE", "SVDF", "RNN", "LSTM"),
        *("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"),
        *("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"),
        *("STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL", "STABLEHLO_WHILE"),
        *("STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL", "CONCAT_EMBEDDINGS"),
    }
)


def _onnx_shapes(onnx: Any, model: Any) -> dict[str, Shape]:
    """Shapes by tensor name, for a batch of one.

    ONNX does not know the operators of ONNX Runtime's domain; those whose output has a known shape
    are told, and the rest is derived from there, until nothing new comes out.
    """
    work = onnx.ModelProto()
    work.CopyFrom(model)
    del work.graph.value_info[:]  # they may hold the open batch
    for value in work.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_value = 1
    for value in work.graph.output:
        value.type.tensor_type.ClearField("shape")
    while True:
        graph = onnx.shape_inference.infer_shapes(work, data_prop=True).graph
        shapes: dict[str, Shape] = {item.name: tuple(item.dims) for item in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                shapes[value.name] = tuple(
                    size.dim_value if size.HasField("dim_value") else None
                    for size in value.type.tensor_type.shape.dim
                )
        told = _tell_shapes(onnx, work.graph, shapes)
        if not told:
            return shapes


def _tell_shapes(onnx: Any, graph: Any, shapes: Mapping[str, Shape]) -> bool:
    """Adds the shapes behind ONNX Runtime's own operators; False where there is nothing to add."""
    known = len(graph.value_info)
    for node in graph.node:
        given = shapes.get(node.input[0]) if node.input else None
        if node.domain in {"", "ai.onnx"} or given is None or node.output[0] in shapes:
            continue
        if node.op_type in _SAME_SHAPE:
            shape = given
        elif node.op_type == "MatMulNBits":
            columns = [item.i for item in node.attribute if item.name == "N"]
            shape = (*given[:-1], *columns)
        else:
            continue
        # The dtype does not matter for shapes, except that there has to be one.
        kind = (
            onnx.TensorProto.FLOAT
            if node.op_type != "QuantizeLinear"
            else _stored(onnx, graph, node)
        )
        graph.value_info.append(onnx.helper.make_tensor_value_info(node.output[0], kind, shape))
    return len(graph.value_info) > known


def _stored(onnx: Any, graph: Any, node: Any) -> int:
    """The dtype that a QuantizeLinear gives: its zero point's, else uint8."""
    kinds = {item.name: int(item.data_type) for item in graph.initializer}
    zero_point = node.input[2] if len(node.input) > 2 else ""
    return kinds.get(zero_point, int(onnx.TensorProto.UINT8))


def _gemm(inputs: Sequence[Shape], output: Shape, options: Mapping[str, Any]) -> int | None:
    first = inputs[0]
    return _product(output, first[:1] if options.get("transA") else first[1:])


def _matrices(inputs: Sequence[Shape], output: Shape, _: Mapping[str, Any]) -> int | None:
    return _product(output, inputs[0][-1:])


_ONNX_RULES: Final[Mapping[str, _Rule]] = {
    # Weights (output channels, input channels of a group, height, width, ...)
    "Conv": lambda inputs, output, _: _product(output, inputs[1][1:]),
    "ConvInteger": lambda inputs, output, _: _product(output, inputs[1][1:]),
    "QLinearConv": lambda inputs, output, _: _product(output, inputs[3][1:]),
    # (input channels, output channels of a group, height, width, ...)
    "ConvTranspose": lambda inputs, _, __: _product(inputs[0], inputs[1][1:]),
    "Gemm": _gemm,
    "MatMul": _matrices,
    "MatMulInteger": _matrices,
    "QLinearMatMul": _matrices,
    "MatMulNBits": _matrices,
}

_SAME_SHAPE: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})

_ONNX_HIDING: Final = frozenset(
    {
        *("If", "Loop", "Scan", "SequenceMap", "RNN", "GRU", "LSTM", "Einsum"),
        *("Attention", "DeformConv", "DFT", "STFT"),
    }
)
