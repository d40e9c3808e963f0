import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_conversions import CONVERTER, Make, answers, kernels, maker
from support.onnx_graphs import kinds
from support.small_run import Conversions

from edgecell_export.formats import onnx_integers
from edgecell_export.formats.onnx_layers import layer_of
from edgecell_export.prepare import Graph
from edgecell_runtime.errors import ConversionError, RecipeError


@pytest.fixture
def make(conversions: Conversions, tmp_path: Path) -> Make:
    return maker(conversions, tmp_path)


@pytest.mark.parametrize("recipe", ["weight_only_int8", "static_int8", "static_int8_int16"])
@pytest.mark.parametrize("kept", [{"first"}, {"second"}, {"last"}, {"first", "hidden"}])
def test_declared_layers_and_no_others_stay_in_float(
    make: Make, small_graph: Graph, conversions: Conversions, recipe: str, kept: set[str]
) -> None:
    path, conversion = make(recipe, float_layers=frozenset(kept))
    CONVERTER.check(path, conversion)
    model = onnx.load(path)
    assert {layer_of(item) for item, steps in kernels(model) if steps is None} == kept
    pixels = conversions.calibration.first(8)
    expected = small_graph.evaluate(pixels.astype(float))
    assert np.abs(answers(path, pixels) - expected).max() < 0.15 * expected.std() + 0.5
    image = CONVERTER.signature(path).inputs[0]
    assert image.dtype == "uint8"


@pytest.mark.parametrize("kept", ["first", "second", "hidden", "last"])
def test_onnxruntime_runs_a_declared_layer_of_static_int8_on_floats(make: Make, kept: str) -> None:
    path, _ = make("static_int8", float_layers=frozenset({kept}))
    floats = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"}
    found = [item for item in CONVERTER.operators(path).operators if item.name in floats]
    assert sum(item.count for item in found) == 1


def test_dynamic_int8_leaves_declared_layers_in_float(make: Make) -> None:
    path, conversion = make("dynamic_int8", float_layers=frozenset({"last"}))
    CONVERTER.check(path, conversion)
    found = kinds(onnx.load(path))
    assert (found.count("Gemm"), found.count("MatMulInteger")) == (1, 1)
    with pytest.raises(RecipeError, match="last computes in floats and was not declared"):
        CONVERTER.check(path, dataclasses.replace(conversion, float_layers=frozenset()))
    both = frozenset({"last", "hidden"})
    with pytest.raises(RecipeError, match="hidden was declared to stay in float, but computes"):
        CONVERTER.check(path, dataclasses.replace(conversion, float_layers=both))


@pytest.mark.parametrize("recipe", ["weight_only_int8", "static_int8", "static_int8_int16"])
def test_file_with_a_float_layer_that_was_not_declared_is_refused(make: Make, recipe: str) -> None:
    path, conversion = make(recipe, float_layers=frozenset({"hidden"}))
    with pytest.raises(RecipeError, match=f"{recipe} promises integer"):
        CONVERTER.check(path, dataclasses.replace(conversion, float_layers=frozenset()))


@pytest.mark.parametrize("recipe", ["weight_only_int8", "static_int8", "static_int8_int16"])
def test_file_without_the_float_layer_that_was_declared_is_refused(make: Make, recipe: str) -> None:
    path, conversion = make(recipe)
    with pytest.raises(RecipeError, match="hidden was declared to stay in float, but"):
        CONVERTER.check(path, dataclasses.replace(conversion, float_layers=frozenset({"hidden"})))


@pytest.mark.parametrize("recipe", ["weight_only_int8", "dynamic_int8", "static_int8"])
def test_layer_that_is_not_there_cannot_stay_in_float(make: Make, recipe: str) -> None:
    with pytest.raises(ConversionError, match="has no layer third"):
        make(recipe, float_layers=frozenset({"third"}))


def test_static_int8_is_refused_when_onnxruntime_quantises_a_declared_layer_itself(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_integers, "keep_floats", lambda *_: None)
    path, conversion = make("static_int8", float_layers=frozenset({"second"}))
    with pytest.raises(RecipeError, match=r"second was declared .* runs 0 of 1 such kernels"):
        CONVERTER.check(path, conversion)
