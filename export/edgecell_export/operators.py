"""What a model file computes, read from the file itself: operators with the dtypes they work on."""

import collections
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.errors import ConversionError, MissingPartError

_PLUMBING = frozenset(
    {"Placeholder", "Identity", "NoOp", "Const", "ReadVariableOp", "PartitionedCall"}
)
_ZERO_POINTS = {
    "QGemm": 8,
    "QLinearAdd": 7,
    "QLinearConcat": 1,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "QLinearMul": 7,
}
"""Where ONNX Runtime's kernels take their output's zero point, whose dtype is the output's; other
QLinear kernels take it fifth."""
_WEIGHTS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "TRANSPOSE_CONV"), 1),
    **dict.fromkeys(("CONV_3D_TRANSPOSE", "FULLY_CONNECTED", "BATCH_MATMUL"), 1),
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "ConvTranspose", "MatMulInteger"), 1),
    **dict.fromkeys(("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulNBits"), 1),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
"""Where operators take their weights."""
_INTEGERS = frozenset({"int8", "uint8", "int32", "int64"})


@dataclass(frozen=True)
class Operator:
    """Operators of one kind that work on the same dtypes.

    Attributes:
        name: The format's name of it.
        dtypes: Inputs and outputs, such as ``int8, int8, int32 -> int8``.
        count: How many there are.
    """

    name: str
    dtypes: str
    count: int

    @property
    def kinds(self) -> frozenset[str]:
        """The dtypes, each once."""
        return frozenset(self.dtypes.replace("->", ",").replace(" ", "").split(","))

    @property
    def integer(self) -> bool:
        """Whether it works on integers alone."""
        return self.kinds <= _INTEGERS

    @property
    def short(self) -> str:
        """Its name and the dtypes of what it takes, its weights and what it gives, each once.

        ``CONV_2D int8`` works on int8 alone, ``CONV_2D float32/int8`` has int8 weights,
        ``DEQUANTIZE int8/float32`` turns one into the other.
        """
        taken, _, given = self.dtypes.partition(" -> ")
        inputs = taken.split(", ") if taken else []
        place = _WEIGHTS.get(self.name, len(inputs))
        kinds = dict.fromkeys((*inputs[:1], *inputs[place : place + 1], *given.split(", ")[:1]))
        return f"{self.name} {'/'.join(kind for kind in kinds if kind)}".strip()


@dataclass(frozen=True)
class Operators:
    """All operators of a file, and its parameters.

    Attributes:
        operators: In the order of first appearance.
        parameters: Number of stored weights; scales and zero points are not counted.
    """

    operators: tuple[Operator, ...]
    parameters: int

    @property
    def by_kind(self) -> dict[str, int]:
        """Their number by name and dtypes, see ``Operator.short``; in the order of appearance."""
        counts: collections.Counter[str] = collections.Counter()
        for operator in self.operators:
            counts[operator.short] += operator.count
        return dict(counts)


def tflite_operators(model: bytes) -> Operators:
    """Reads the operators of a TFLite file.

    Raises:
        MissingPartError: LiteRT, which brings the format's schema, is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingPartError(
            "Reading the operators of TFLite needs LiteRT: pip install 'edgecell[tflite]'."
        ) from error
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    names = _constants(schema.BuiltinOperator)
    dtypes = {value: name.lower() for value, name in _constants(schema.TensorType).items()}
    graph = parsed.subgraphs[0]
    found: list[tuple[str, str, str]] = []
    for operator in graph.operators:
        code = parsed.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        taken = _tflite_dtypes(graph, dtypes, operator.inputs)
        found.append((name, taken, _tflite_dtypes(graph, dtypes, operator.outputs)))
    shapes = {
        operator.inputs[1]
        for operator, (name, *_) in zip(graph.operators, found, strict=True)
        if name == "RESHAPE"
    }
    weights = [
        tensor
        for index, tensor in enumerate(graph.tensors)
        if _buffer_size(parsed.buffers[tensor.buffer]) and index not in shapes
    ]
    return Operators(_count(found), sum(_product(tensor.shape) for tensor in weights))


def onnx_operators(model: bytes) -> Operators:
    """Reads the operators that ONNX Runtime runs for a model, after its own optimisation.

    A quantised ONNX file describes float operators between quantisation steps; only the optimised
    graph tells which of them became integer kernels.

    Raises:
        MissingPartError: onnx or ONNX Runtime is not installed.
        ConversionError: ONNX Runtime refuses the model.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingPartError(
            "Reading the operators of ONNX needs onnx: pip install 'edgecell[export]'."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        # Level 2: level 3 adds layouts of this processor and hides the operators' names.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base but Exception
            raise ConversionError(f"ONNX Runtime refuses the model: {error}") from error
        optimised = onnx.load(options.optimized_model_filepath)
    dtypes = _onnx_dtypes(onnx, optimised)
    found = [
        (node.op_type, _onnx_dtype_list(dtypes, node.input), _onnx_dtype_list(dtypes, node.output))
        for node in optimised.graph.node
    ]
    return Operators(_count(found), _onnx_parameters(onnx.load_model_from_string(model).graph))


def _constants(kind: type) -> dict[int, str]:
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


def _tflite_dtypes(graph: Any, dtypes: dict[int, str], indices: Any) -> str:
    return ", ".join(dtypes[graph.tensors[i].type] for i in indices if i >= 0)


def _buffer_size(buffer: Any) -> int:
    return 0 if buffer.data is None else len(buffer.data)


def _onnx_dtypes(onnx: Any, model: Any) -> dict[str, str]:
    """Dtype by tensor name. Inference knows ONNX's own operators, the rest follows their rules."""
    names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    names[onnx.TensorProto.FLOAT] = "float32"
    graph = onnx.shape_inference.infer_shapes(model).graph
    dtypes = {item.name: names[item.data_type] for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dtypes[value.name] = names[value.type.tensor_type.elem_type]
    for node in graph.node:
        taken = [dtypes.get(name, "?") for name in node.input]
        place = _ZERO_POINTS.get(node.op_type, 4 if node.op_type.startswith("QLinear") else 0)
        if node.op_type == "QGemm" and len(taken) <= place:
            given = "float32"
        else:
            given = taken[place] if len(taken) > place else "float32"
        for name in node.output:
            dtypes.setdefault(name, given)
    return dtypes


def _onnx_parameters(graph: Any) -> int:
    """Weights and biases; scales and zero points are not counted."""
    first_other = {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulInteger": 2, "Mul": 0}
    others = {
        name
        for node in graph.node
        for name in list(node.input)[first_other.get(node.op_type, len(node.input)) :]
    }
    weights = [item for item in graph.initializer if item.dims and item.name not in others]
    shapes = {name for node in graph.node if node.op_type == "Reshape" for name in node.input[1:]}
    return sum(_product(item.dims) for item in weights if item.name not in shapes)


def _onnx_dtype_list(dtypes: dict[str, str], names: Any) -> str:
    return ", ".join(dtypes.get(name, "?") for name in names if name)


def _count(found: list[tuple[str, str, str]]) -> tuple[Operator, ...]:
    counts = collections.Counter((name, f"{taken} -> {given}") for name, taken, given in found)
    return tuple(Operator(name, dtypes, count) for (name, dtypes), count in counts.items())


def _product(sizes: Any) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total


def savedmodel_operators(folder: Path) -> Operators:
    """Reads the operators of a SavedModel's graph; passing values on is left out.

    Raises:
        MissingPartError: TensorFlow is not installed.
    """
    tensorflow = import_tensorflow()
    loaded = tensorflow.saved_model.load(str(folder))
    graph = loaded.signatures["serving_default"]
    found: list[tuple[str, str, str]] = []
    for part in _graphs_below(graph.graph):
        for operator in part.get_operations():
            taken = ", ".join(tensor.dtype.name for tensor in operator.inputs)
            given = ", ".join(tensor.dtype.name for tensor in operator.outputs)
            found.append((operator.type, taken, given))
    computing = [item for item in found if item[0].removeprefix("Stateful") not in _PLUMBING]
    weights = sum(_product(variable.shape) for variable in graph.variables)
    return Operators(_count(computing), weights)


def _graphs_below(graph: Any) -> list[Any]:
    called = [
        function.graph for function in graph._functions.values() if hasattr(function, "graph")
    ]
    return [graph, *called]
