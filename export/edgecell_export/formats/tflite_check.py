"""Whether a TFLite file is what its recipe promises, from the file itself."""

from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.formats.tflite_weights import promised_kernel
from edgecell_runtime.errors import RecipeError

_EDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Steps between integers and floats."""


def check_layers(graph: TFLiteGraph, conversion: Conversion) -> None:
    """Holds every layer's weights, and what it computes on, against the recipe.

    Raises:
        RecipeError: A layer is made otherwise.
    """
    recipe, float_layers = conversion.recipe, conversion.float_layers
    layers = list(graph.layers())
    for layer in layers:
        promised = promised_kernel(recipe, layer, graph.size(layer.weights), float_layers)
        if layer.kernel != promised:
            raise RecipeError(
                f"{recipe.name} promises {promised}, but the layer {layer.name} has {layer.kernel}."
            )
    if not recipe.integer_weights:
        return
    for name in sorted(float_layers):
        if not any(layer.was_built_from(name) for layer in layers):
            raise RecipeError(
                f"The layer {name} was to stay in float, but the file has no layer of that name."
            )


def check_integers(graph: TFLiteGraph, conversion: Conversion) -> None:
    """Makes sure that a static recipe computes on integers, but for the layers left in float.

    Raises:
        RecipeError: Another operator works on floats.
    """
    steps = _EDGES if conversion.float_layers else frozenset()
    if conversion.recipe.activation_bits == 16:
        steps = _EDGES | {"CAST"}
    left = [
        layer.operator for layer in graph.layers() if layer.stays_float(conversion.float_layers)
    ]
    floats = [
        graph.kind(operator)
        for operator in graph.graph.operators
        if not graph.dtypes(operator) <= {"int8", "uint8", "int16", "int32", "int64"}
        and graph.kind(operator) not in steps
        and not any(operator is other for other in left)
    ]
    if floats:
        raise RecipeError(
            f"{conversion.recipe.name} promises integer kernels, but "
            f"{', '.join(dict.fromkeys(floats))} work on floats."
        )
