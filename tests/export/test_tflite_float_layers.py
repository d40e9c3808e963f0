import dataclasses
from pathlib import Path

import pytest
from support.small_run import Conversions
from support.tflite_files import (
    FLOAT,
    INTEGERS,
    LAYERS,
    LIMITS,
    TFLITE,
    convert,
    kernels,
    largest_difference,
    on_grid,
)

from edgecell_export.keras_build import layer_names
from edgecell_export.prepare import Graph
from edgecell_export.prepare.nodes import Conv2D, Dense
from edgecell_runtime.errors import ConversionError, RecipeError
from edgecell_runtime.signature import PIXELS


def test_layer_names_are_the_ones_of_the_small_net(conversions: Conversions) -> None:
    assert tuple(layer_names(conversions.graph)) == LAYERS


@pytest.mark.parametrize("recipe", INTEGERS)
def test_float_layers_leaves_exactly_that_layer_in_float(
    conversions: Conversions, tmp_path: Path, recipe: str
) -> None:
    whole = conversions.conversion(recipe)
    path = convert(whole, tmp_path, float_layers=frozenset({"hidden"}))
    expected = kernels(conversions.path("tflite", recipe)) | {"hidden": FLOAT}
    assert kernels(path) == expected
    with pytest.raises(RecipeError, match=f"^{recipe} promises"):
        TFLITE.check(path, whole)
    answers = on_grid(whole.graph, recipe, but="hidden")
    assert largest_difference(path, answers, conversions) < LIMITS[recipe]


def test_static_int8_gives_float_logits_when_the_last_layer_stays_in_float(
    conversions: Conversions, tmp_path: Path
) -> None:
    path = convert(
        conversions.conversion("static_int8"), tmp_path, float_layers=frozenset({"last"})
    )
    signature = TFLITE.signature(path)
    assert (signature.inputs[0].dtype, signature.inputs[0].quantization) == ("uint8", PIXELS)
    assert (signature.outputs[0].dtype, signature.outputs[0].quantization) == ("float32", None)


def test_float_layers_takes_pixels_with_the_same_scale_when_the_first_layer_stays_in_float(
    conversions: Conversions, tmp_path: Path
) -> None:
    path = convert(
        conversions.conversion("static_int8"), tmp_path, float_layers=frozenset({"first"})
    )
    assert TFLITE.signature(path).inputs[0].quantization == PIXELS
    assert kernels(path)["first"] == FLOAT


def rename(graph: Graph, *names: str) -> Graph:
    """Gives the layers with weights other names."""
    left = iter(names)
    nodes = [
        dataclasses.replace(node, name=next(left)) if isinstance(node, Conv2D | Dense) else node
        for node in graph.last.nodes
    ]
    return graph.with_last(graph.last.with_nodes(*nodes))


@pytest.mark.parametrize("recipe", ["static_int8", "weight_only_int8"])
def test_float_layers_tells_names_apart_that_tensorflow_numbers(
    conversions: Conversions, tmp_path: Path, recipe: str
) -> None:
    names = ("dense", "dense_1", "dense_2", "dense_1_1")
    conversion = dataclasses.replace(
        conversions.conversion(recipe), graph=rename(conversions.graph, *names)
    )
    path = convert(conversion, tmp_path, float_layers=frozenset({"dense_1"}))
    in_float = [name for name, kernel in kernels(path, names).items() if kernel == FLOAT]
    assert in_float == ["dense_1"]


def test_float_layers_is_refused_when_no_layer_has_the_name(
    conversions: Conversions, tmp_path: Path
) -> None:
    conversion = dataclasses.replace(
        conversions.conversion("static_int8"), float_layers=frozenset({"hiden"})
    )
    with pytest.raises(ConversionError, match=r"no layer hiden .* are first, second, hidden, last"):
        TFLITE.convert(conversion, tmp_path / "model.tflite")


def test_file_is_refused_when_a_layer_that_was_to_stay_in_float_became_integers(
    conversions: Conversions,
) -> None:
    conversion = dataclasses.replace(
        conversions.conversion("static_int8"), float_layers=frozenset({"hidden"})
    )
    with pytest.raises(RecipeError, match="hidden was to stay in float"):
        TFLITE.check(conversions.path("tflite", "static_int8"), conversion)


@pytest.mark.parametrize(
    ("recipe", "rule"),
    [("static_int8", "percentile"), ("static_int8_int16", "mse"), ("weight_only_int4", "min-max")],
)
def test_conversion_with_float_layers_gives_the_same_bytes_when_repeated(
    conversions: Conversions, tmp_path: Path, recipe: str, rule: str
) -> None:
    files = [
        convert(
            conversions.conversion(recipe),
            tmp_path,
            ranges=rule,
            float_layers=frozenset({"second", "hidden"}),
        ).read_bytes()
        for _ in range(2)
    ]
    assert files[0] == files[1]
