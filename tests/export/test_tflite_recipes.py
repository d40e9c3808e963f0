import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.small_run import Conversions
from support.tflite_files import (
    FLOAT,
    INTEGERS,
    KERNELS,
    LAYERS,
    LIMITS,
    TFLITE,
    convert,
    kernels,
    largest_difference,
    logits,
    on_grid,
)

from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.prepare.nodes import Dense
from edgecell_runtime.errors import RecipeError


@pytest.mark.parametrize("recipe", [name for name in KERNELS if name != "dynamic_int8"])
def test_recipe_makes_every_layer_as_it_promises(conversions: Conversions, recipe: str) -> None:
    expected = dict.fromkeys(LAYERS, KERNELS[recipe])
    assert kernels(conversions.path("tflite", recipe)) == expected


def test_dynamic_int8_leaves_small_layers_in_float(conversions: Conversions) -> None:
    found = kernels(conversions.path("tflite", "dynamic_int8"))
    assert found == dict.fromkeys(LAYERS, FLOAT) | {"hidden": KERNELS["dynamic_int8"]}


@pytest.mark.parametrize("recipe", [name for name in INTEGERS if name != "dynamic_int8"])
def test_recipe_answers_as_the_graph_with_rounded_weights_does(
    conversions: Conversions, recipe: str
) -> None:
    expected = on_grid(conversions.conversion(recipe).graph, recipe)
    path = conversions.path("tflite", recipe)
    assert largest_difference(path, expected, conversions) < LIMITS[recipe]


@pytest.mark.parametrize("passed_off", KERNELS)
@pytest.mark.parametrize("recipe", KERNELS)
def test_file_is_refused_when_it_is_passed_off_as_another_recipe(
    conversions: Conversions, recipe: str, passed_off: str
) -> None:
    path, conversion = conversions.path("tflite", recipe), conversions.conversion(passed_off)
    if recipe == passed_off:
        TFLITE.check(path, conversion)
        return
    with pytest.raises(RecipeError, match=f"^{passed_off} promises"):
        TFLITE.check(path, conversion)


def activation_scales(path: Path) -> list[float]:
    graph = TFLiteGraph(path.read_bytes())
    outputs = [graph.graph.tensors[layer.operator.outputs[0]] for layer in graph.layers()]
    return [float(tensor.quantization.scale[0]) for tensor in outputs]


@pytest.mark.parametrize("recipe", ["static_int8", "static_int8_int16"])
@pytest.mark.parametrize("rule", ["percentile", "mse"])
def test_ranges_are_narrower_than_the_largest_values_when_a_rule_cuts_outliers(
    conversions: Conversions, tmp_path: Path, recipe: str, rule: str
) -> None:
    path = convert(conversions.conversion(recipe), tmp_path, ranges=rule)
    whole = activation_scales(conversions.path("tflite", recipe))
    cut = activation_scales(path)
    # Half a bin of the histogram may be added at an end.
    assert all(scale <= other * 1.001 for scale, other in zip(cut, whole, strict=True))
    assert min(np.divide(cut, whole)) < 0.98
    image, expected = TFLITE.signature(path).inputs[0], conversions.path("tflite", recipe)
    assert image == TFLITE.signature(expected).inputs[0]
    assert largest_difference(path, conversions.graph, conversions) < 0.25


def test_ranges_are_widened_until_operators_of_one_scale_agree(conversions: Conversions) -> None:
    graph = TFLiteGraph(conversions.path("tflite", "float32").read_bytes())
    kinds = [graph.kind(operator) for operator in graph.graph.operators]
    at = kinds.index("RESHAPE")
    assert kinds[at - 1] == "MAX_POOL_2D"
    pool, reshape = graph.graph.operators[at - 1], graph.graph.operators[at]
    around = [pool.inputs[0], pool.outputs[0], reshape.outputs[0]]
    tensors = [graph.graph.tensors[index] for index in around]
    for tensor, (low, high) in zip(tensors, [(0, 3), (0, 4), (-1, 2)], strict=True):
        tensor.quantization = graph.schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [low], [high]
    graph.widen_to_match()
    assert list(graph.ranges().values()) == [(-1, 4)] * 3


@pytest.mark.parametrize("batch", [0, 4])
@pytest.mark.parametrize("recipe", ["float32", *INTEGERS])
def test_model_takes_the_batch_that_was_asked_for(
    conversions: Conversions, tmp_path: Path, recipe: str, batch: int
) -> None:
    path = convert(conversions.conversion(recipe), tmp_path, batch=batch)
    signature = TFLITE.signature(path)
    assert signature.inputs[0].shape[0] == (batch or None)
    assert signature.outputs[0].shape == (batch or None, 2)
    pixels = conversions.calibration.first(12)
    one_by_one = logits(conversions.path("tflite", recipe), pixels)
    np.testing.assert_allclose(logits(path, pixels), one_by_one, atol=1e-4)


@pytest.mark.parametrize("recipe", ["static_int8", "static_int8_int16"])
def test_layer_that_gives_nothing_but_zeros_is_converted(
    conversions: Conversions, tmp_path: Path, recipe: str
) -> None:
    nodes = [
        dataclasses.replace(node, bias=node.bias - 1e4)
        if isinstance(node, Dense) and node.name == "hidden"
        else node
        for node in conversions.graph.last.nodes
    ]
    graph = conversions.graph.with_last(conversions.graph.last.with_nodes(*nodes))
    path = convert(conversions.conversion(recipe), tmp_path, graph=graph)
    pixels = conversions.calibration.first(4)
    expected = graph.evaluate(pixels.astype(np.float64))
    assert np.ptp(expected, axis=0).max() == 0
    # The two answers share one scale.
    np.testing.assert_allclose(logits(path, pixels), expected, atol=np.abs(expected).max() / 64)
