"""Whether an ONNX file is what its recipe promises."""

from collections import Counter
from typing import Final

import numpy as np

from edgecell_export.formats.base import Conversion, lacks_operators
from edgecell_export.formats.onnx_graph import KERNELS, Model, constant
from edgecell_export.formats.onnx_grid import largest_weight
from edgecell_export.formats.onnx_integers import takes_plain_pixels, takes_quantised_pixels
from edgecell_export.formats.onnx_layers import layer_of
from edgecell_export.formats.onnx_weights import stored_steps
from edgecell_export.operators import Operators
from edgecell_runtime.errors import ConversionError, RecipeError

_FLOAT_KERNELS: Final = frozenset(
    {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
)
_FLOAT_ARITHMETIC: Final = frozenset({"Add", "Mul", "Max", "Relu"})


def require_known_operators(model: Model, opset: int) -> None:
    """Every operator is one of ONNX's; tf2onnx leaves TensorFlow's where it knows no other.

    Raises:
        ConversionError: It names those that are not.
    """
    from onnx import defs

    nodes = model.graph.node
    unknown = {n.op_type for n in nodes if not defs.has(n.op_type, opset, n.domain)}
    if unknown:
        raise ConversionError(lacks_operators("ONNX", sorted(unknown)))


def check_weights(model: Model, conversion: Conversion) -> None:
    """Exactly the declared layers hold float weights, and steps are no larger than is safe.

    Raises:
        RecipeError: It is otherwise.
    """
    name, declared = conversion.recipe.name, conversion.float_layers
    largest = largest_weight(conversion.recipe, conversion.target)
    floats: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in KERNELS:
            continue
        steps = stored_steps(model, node)
        if steps is None:
            floats.add(layer_of(node))
        elif np.abs(steps.astype(np.int16)).max(initial=0) > largest:
            raise RecipeError(
                f"{name} for {conversion.target} promises weights of at most {largest} steps, "
                f"which no processor's sums overflow with, but {layer_of(node)} has larger ones."
            )
    if floats - declared:
        raise RecipeError(
            f"{name} promises integer weights, but {', '.join(sorted(floats - declared))} "
            "has float ones and was not declared to stay in float."
        )
    if declared - floats:
        raise RecipeError(
            f"{', '.join(sorted(declared - floats))} was declared to stay in float, but holds "
            "integer weights."
        )


def check_dynamic(model: Model, found: Operators, conversion: Conversion) -> None:
    """Dense layers but the declared ones compute in integers.

    Raises:
        RecipeError: One does not, or there is none.
    """
    integer = [
        item
        for item in found.operators
        if item.name.startswith("DynamicQuantize") or "Integer" in item.name
    ]
    if not integer:
        raise RecipeError(
            "dynamic_int8 promises 8-bit dense layers, but ONNX Runtime runs none of them in "
            "integers."
        )
    dense = {layer_of(node) for node in model.graph.node if node.op_type in ("Gemm", "MatMul")}
    if dense - conversion.float_layers:
        raise RecipeError(
            "dynamic_int8 promises 8-bit dense layers, but "
            f"{', '.join(sorted(dense - conversion.float_layers))} computes in floats and was not "
            "declared to."
        )
    integer_layers = {
        layer_of(node) for node in model.graph.node if node.op_type == "MatMulInteger"
    }
    if integer_layers & conversion.float_layers:
        raise RecipeError(
            f"{', '.join(sorted(integer_layers & conversion.float_layers))} was declared to stay "
            "in float, but computes in integers."
        )


def check_static(model: Model, found: Operators, conversion: Conversion) -> None:
    """ONNX Runtime runs integer kernels, but for the layers that are to stay in float.

    Raises:
        RecipeError: It is otherwise.
    """
    declared = sum(layer_of(node) in conversion.float_layers for node in model.graph.node)
    counts: Counter[str] = Counter()
    for item in found.operators:
        counts[item.name] += item.count
    kernels = sum(counts[kind] for kind in _FLOAT_KERNELS)
    refused = (_FLOAT_KERNELS if kernels > declared else frozenset()) | (
        frozenset() if declared else _FLOAT_ARITHMETIC
    )
    floats = sorted(kind for kind in refused if counts[kind])
    if floats:
        raise RecipeError(
            "static_int8 promises integer kernels, but ONNX Runtime runs "
            f"{', '.join(floats)} on floats."
        )
    if kernels < declared:
        raise RecipeError(
            f"{', '.join(sorted(conversion.float_layers))} was declared to stay in float, but "
            f"ONNX Runtime runs {kernels} of {declared} such kernels on floats."
        )


def check_pixels(model: Model, conversion: Conversion) -> None:
    """The image is uint8 with a scale of 1/255 and zero point 0, or plain for a float layer.

    Raises:
        RecipeError: It is otherwise.
    """
    plain = bool(conversion.float_layers) and takes_plain_pixels(model)
    if not plain and not takes_quantised_pixels(model):
        raise RecipeError(
            f"{conversion.recipe.name} promises uint8 pixels with scale 1/255 and zero point 0, "
            "but the input is quantised otherwise or not at all."
        )


def check_activations(model: Model, conversion: Conversion) -> None:
    """Steps of activations have the bits of the recipe.

    A net of one layer has no activation: it takes the pixels and gives the logits.

    Raises:
        RecipeError: There are none, or others.
    """
    bits = conversion.recipe.activation_bits
    kinds = {
        step.dtype.itemsize * 8
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
        if (step := constant(model, node.input[2])) is not None
    }
    single = sum(node.op_type in KERNELS for node in model.graph.node) == 1
    if not kinds and single and not conversion.float_layers:
        return
    if kinds != {bits}:
        raise RecipeError(
            f"{conversion.recipe.name} promises activations of {bits} bits, but the file has "
            f"{', '.join(map(str, sorted(kinds))) or 'none'}."
        )
