"""Two tiny graphs with the same answers, one ONNX and one TFLite, made without TensorFlow.

``uint8 (n, 8, 8, 3) -> cast -> flatten -> matrix product, bias -> float32 (n, 2)``
"""

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = (8, 8, 3)
INPUTS, OUTPUTS = 8 * 8 * 3, 2

WEIGHTS = (np.random.default_rng(7).normal(size=(OUTPUTS, INPUTS)) / 2048).astype(np.float32)
BIAS = np.array([0.25, -0.25], np.float32)


def expected_logits(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What both graphs answer, float64 (n, 2)."""
    flat = pixels.reshape(len(pixels), INPUTS).astype(np.float64)
    return flat @ WEIGHTS.astype(np.float64).T + BIAS


def random_pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE), np.uint8)


def onnx_model(batch: int | None = None) -> bytes:
    size: int | str = "batch" if batch is None else batch
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["real"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [size, *SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [size, OUTPUTS])],
        [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    opset = helper.make_opsetid("", 17)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return model.SerializeToString()


def tflite_model(batch: int | None = None) -> bytes:
    flat, logits = [batch or 1, INPUTS], [batch or 1, OUTPUTS]
    pixels = [batch or 1, *SIZE]
    types = schema.TensorType
    tensors = [
        _tensor("pixels", types.UINT8, pixels, 0, open_batch=batch is None),
        _tensor("real", types.FLOAT32, pixels, 0, open_batch=batch is None),
        _tensor("weights", types.FLOAT32, [OUTPUTS, INPUTS], 1),
        _tensor("bias", types.FLOAT32, [OUTPUTS], 2),
        _tensor("logits", types.FLOAT32, logits, 0, open_batch=batch is None),
        _tensor("flat", types.FLOAT32, flat, 0, open_batch=batch is None),
        _tensor("shape", types.INT32, [2], 3),
    ]
    operators = [
        _operator(0, [0], [1], schema.BuiltinOptions.CastOptions, schema.CastOptionsT()),
        _operator(1, [1, 6], [5], schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT()),
        _operator(2, [5, 2, 3], [4], *_fully_connected()),
    ]
    codes = [
        schema.BuiltinOperator.CAST,
        schema.BuiltinOperator.RESHAPE,
        schema.BuiltinOperator.FULLY_CONNECTED,
    ]
    return _pack(tensors, operators, codes, [WEIGHTS, BIAS, np.array([-1, INPUTS], np.int32)])


# The int8 graph: a real input of pixels / 255, weights of 0.05 a step, outputs of 0.25 a step.
INT8_INPUT = (1 / 255, -128)
INT8_OUTPUT = (0.25, 3)
INT8_WEIGHTS = np.random.default_rng(8).integers(-9, 10, (OUTPUTS, INPUTS), np.int8)


def int8_expected_logits(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The real answers of the int8 graph, before its output is rounded."""
    flat = pixels.reshape(len(pixels), INPUTS).astype(np.float64) / 255
    return flat @ (INT8_WEIGHTS.astype(np.float64) * 0.05).T


def int8_tflite_model() -> bytes:
    """``int8 (1, 8, 8, 3) -> matrix product -> int8 (1, 2)``, quantised at both ends."""
    types = schema.TensorType
    tensors = [
        _tensor("pixels", types.INT8, [1, *SIZE], 0, scale=INT8_INPUT),
        _tensor("weights", types.INT8, [OUTPUTS, INPUTS], 1, scale=(0.05, 0)),
        _tensor("bias", types.INT32, [OUTPUTS], 2, scale=(0.05 / 255, 0)),
        _tensor("logits", types.INT8, [1, OUTPUTS], 0, scale=INT8_OUTPUT),
    ]
    operators = [_operator(0, [0, 1, 2], [3], *_fully_connected())]
    codes = [schema.BuiltinOperator.FULLY_CONNECTED]
    return _pack(tensors, operators, codes, [INT8_WEIGHTS, np.zeros(OUTPUTS, np.int32)])


def odd_tflite_model(
    kind: int, shape: list[int], *, scale: tuple[float, int] | None = None
) -> bytes:
    """A graph that hands its only tensor through, of any type and shape."""
    tensors = [_tensor("tensor", kind, shape, 0, scale=scale)]
    return _pack(tensors, [], [], [], inputs=[0], outputs=[0])


def unknown_tflite_model() -> bytes:
    """The tiny graph, whose matrix product is of a version that no kernel has."""
    model = schema.ModelT.InitFromPackedBuf(tflite_model(), 0)
    model.operatorCodes[-1].version = 99
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def odd_onnx_model(kind: int, shape: list[int]) -> bytes:
    """A graph that hands its only input through, of any type and shape."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["in"], ["out"])],
        "odd",
        [helper.make_tensor_value_info("in", kind, shape)],
        [helper.make_tensor_value_info("out", kind, shape)],
    )
    opset = helper.make_opsetid("", 17)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return model.SerializeToString()


def _tensor(
    name: str,
    kind: int,
    shape: list[int],
    buffer: int,
    *,
    scale: tuple[float, int] | None = None,
    open_batch: bool = False,
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name, kind, shape, buffer
    if open_batch:
        tensor.shapeSignature = [-1, *shape[1:]]
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale[0]], [scale[1]]
    return tensor


def _fully_connected() -> tuple[int, schema.FullyConnectedOptionsT]:
    return schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()


def _operator(
    code: int, inputs: list[int], outputs: list[int], kind: int, options: object
) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _pack(
    tensors: list[schema.TensorT],
    operators: list[schema.OperatorT],
    codes: list[int],
    constants: list[NDArray[np.generic]],
    *,
    inputs: list[int] | None = None,
    outputs: list[int] | None = None,
) -> bytes:
    subgraph = schema.SubGraphT()
    subgraph.name, subgraph.tensors, subgraph.operators = "main", tensors, operators
    names = [tensor.name for tensor in tensors]
    subgraph.inputs = [names.index("pixels")] if inputs is None else inputs
    subgraph.outputs = [names.index("logits")] if outputs is None else outputs
    model = schema.ModelT()
    model.version, model.description, model.subgraphs = 3, "tiny", [subgraph]
    model.operatorCodes = []
    for code in codes:
        entry = schema.OperatorCodeT()
        # Full connections of int8 came with the operator's version 4.
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 4 if code == schema.BuiltinOperator.FULLY_CONNECTED else 1
        model.operatorCodes.append(entry)
    model.buffers = [schema.BufferT()]
    for constant in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
