"""The graph inside a TFLite file, through the format's own schema: to read it, and to edit it."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import MissingPartError

FLOAT_MARK: Final = ".float"
"""Behind the name of a layer that stays in float; the converter carries names into the file."""

CHANNEL_AXIS: Final = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights, and the axis of the output channels in them."""

_MATCHING: Final = frozenset(
    {"MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "SQUEEZE", "TRANSPOSE", "PAD", "CONCATENATION"}
)
"""Operators whose inputs and outputs have one scale as integers."""


@dataclass(frozen=True)
class Kernel:
    """What a layer with weights is made of.

    Attributes:
        activations: Dtype that it takes.
        weights: Dtype that they are stored in.
        unpacked: Whether the weights are turned into floats in front of the layer.
    """

    activations: str
    weights: str
    unpacked: bool = False

    def __str__(self) -> str:
        how = " unpacked for" if self.unpacked else " with"
        return f"{self.weights} weights{how} {self.activations} activations"


@dataclass(frozen=True, eq=False)
class Layer:
    """An operator with weights.

    Attributes:
        name: Of its weights, as the converter named them; it contains the Keras layer's name.
        operator: As the schema gives it.
        weights: Index of the stored weights.
        axis: Of the output channels in them.
        kernel: What it is made of.
    """

    name: str
    operator: Any
    weights: int
    axis: int
    kernel: Kernel

    def stays_float(self, float_layers: Collection[str]) -> bool:
        """Whether it was built from one of these Keras layers, marked with ``FLOAT_MARK``."""
        return any(self.was_built_from(name) for name in float_layers)

    def was_built_from(self, layer: str) -> bool:
        """Whether it was built from the Keras layer of this name, marked with ``FLOAT_MARK``.

        TensorFlow makes a path of the names and numbers a part that is used twice. The mark keeps
        that number apart from the one in Keras's own names: ``dense_1`` is not ``dense`` again.
        """
        pattern = re.compile(rf"{re.escape(layer + FLOAT_MARK)}(_\d+)?")
        return any(pattern.fullmatch(part) for part in re.split("[/;]", self.name))


class TFLiteGraph:
    """A parsed file with one graph.

    Attributes:
        schema: The module of the format's schema.
        model: The file as objects of the schema.
        graph: Its graph.

    Raises:
        MissingPartError: LiteRT, which brings the schema, is not installed.
    """

    def __init__(self, model: bytes) -> None:
        try:
            from ai_edge_litert import schema_py_generated as schema
        except ImportError as error:
            raise MissingPartError(
                "Working on TFLite files needs LiteRT: pip install 'edgecell[tflite]'."
            ) from error
        self.schema: Any = schema
        self.model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        self.graph: Any = self.model.subgraphs[0]
        self._operators = _names(schema.BuiltinOperator)
        self._dtypes = _names(schema.TensorType)

    def to_bytes(self) -> bytes:
        """The file; weights that nothing refers to any more are left out."""
        import flatbuffers

        used = {tensor.buffer for tensor in self.graph.tensors}
        used |= {entry.buffer for entry in self.model.metadata or ()}
        for index, buffer in enumerate(self.model.buffers):
            if index not in used:
                buffer.data = None
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def kind(self, operator: Any) -> str:
        """The format's name of an operator."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self._operators[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def dtype(self, tensor: int) -> str:
        """The dtype of a tensor."""
        return self._dtypes[self.graph.tensors[tensor].type].lower()

    def dtypes(self, operator: Any) -> set[str]:
        """The dtypes of an operator's inputs and outputs."""
        return {self.dtype(i) for i in (*operator.inputs, *operator.outputs) if i >= 0}

    def layers(self) -> Iterator[Layer]:
        """The operators with weights, in the order of computation."""
        unpacked = {
            operator.outputs[0]: operator.inputs[0]
            for operator in self.graph.operators
            if self.kind(operator) == "DEQUANTIZE" and self._is_constant(operator.inputs[0])
        }
        for operator in self.graph.operators:
            axis = CHANNEL_AXIS.get(self.kind(operator))
            if axis is None:
                continue
            taken = operator.inputs[1]
            weights = int(unpacked.get(taken, taken))
            kernel = Kernel(self.dtype(operator.inputs[0]), self.dtype(weights), taken in unpacked)
            yield Layer(self.graph.tensors[weights].name.decode(), operator, weights, axis, kernel)

    def size(self, tensor: int) -> int:
        """How many elements a tensor has."""
        return int(np.prod(self.graph.tensors[tensor].shape))

    def constant(self, tensor: int, dtype: type[np.generic]) -> NDArray[Any]:
        """The values of a constant."""
        found = self.graph.tensors[tensor]
        values: NDArray[Any] = self.model.buffers[found.buffer].data.view(dtype)
        return values.reshape(found.shape)

    def set_constant(self, tensor: int, values: NDArray[Any]) -> None:
        """Gives a constant other values, without touching a tensor that had the same ones."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.graph.tensors[tensor].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The ranges that calibration wrote, by tensor."""
        return {
            tensor.name.decode(): (
                float(tensor.quantization.min[0]),
                float(tensor.quantization.max[0]),
            )
            for tensor in self.graph.tensors
            if tensor.quantization is not None and tensor.quantization.min is not None
        }

    def set_ranges(self, ranges: dict[str, tuple[float, float]]) -> None:
        """Replaces ranges that calibration wrote."""
        for tensor in self.graph.tensors:
            if found := ranges.get(tensor.name.decode()):
                tensor.quantization.min, tensor.quantization.max = [found[0]], [found[1]]

    def widen_to_match(self) -> None:
        """Gives the tensors around an operator that needs one scale the widest of their ranges.

        A rule may choose them differently: what a pool hands on has larger values than what it
        takes, and would be clipped in front of it.
        """
        known, before = self.ranges(), None
        while known != before:  # a range that grew may reach on through the next operator
            before = dict(known)
            for operator in self.graph.operators:
                if self.kind(operator) not in _MATCHING:
                    continue
                around = {self._name(i) for i in (*operator.inputs, *operator.outputs)}
                ends = [known[name] for name in around & known.keys()]
                if ends:
                    widest = min(low for low, _ in ends), max(high for _, high in ends)
                    known |= dict.fromkeys(around & known.keys(), widest)
        self.set_ranges(known)

    def _name(self, tensor: int) -> str:
        name: str = self.graph.tensors[tensor].name.decode()
        return name

    def _is_constant(self, tensor: int) -> bool:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0


def _names(kind: type) -> dict[int, str]:
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}
