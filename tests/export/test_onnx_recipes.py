import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_conversions import CONVERTER, Make, answers, kernels, maker
from support.onnx_graphs import kinds
from support.small_run import Conversions

from edgecell_export.formats import onnx_channels, onnx_graph, onnx_integers, onnx_static
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.onnx_graph import KERNELS, constant, producer
from edgecell_export.formats.onnx_grid import largest_weight
from edgecell_export.formats.onnx_layers import layer_of
from edgecell_export.kinds import Target
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import Graph
from edgecell_export.prepare.graph import Chain, Part
from edgecell_export.prepare.nodes import Activation, Conv2D, Dense, Flatten, MaxPool2D
from edgecell_export.ranges import RangeRule, collect_ranges
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import RecipeError

LAYERS = ("first", "second", "hidden", "last")


@pytest.fixture
def make(conversions: Conversions, tmp_path: Path) -> Make:
    return maker(conversions, tmp_path)


def on_grid(graph: Graph, largest: int) -> Graph:
    """The graph with each kernel rounded by output channel, ``largest`` steps at most."""

    def rounded(layer: Conv2D | Dense) -> Conv2D | Dense:
        step = np.abs(layer.kernel).max(axis=tuple(range(layer.kernel.ndim - 1))) / largest
        return dataclasses.replace(layer, kernel=np.rint(layer.kernel / step) * step)

    return graph.map(
        lambda chain: chain.with_nodes(
            *(rounded(item) if isinstance(item, Conv2D | Dense) else item for item in chain.nodes)
        )
    )


def test_float32_holds_what_the_net_needs_and_no_more(conversions: Conversions) -> None:
    found = kinds(onnx.load(conversions.path("onnx", "float32")))
    first = ["Cast", "Transpose", "Conv", "MaxPool", "Max"]  # a shifted ReLU, where it costs less
    dense = ["Reshape", "Gemm", "Relu", "Gemm"]
    assert found == [*first, "Conv", "Relu", "MaxPool", *dense]


def test_float32_of_a_gray_image_transposes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Conv2D(rng.normal(size=(3, 3, 1, 4)), rng.normal(size=4), (1, 1), "same", "first"),
        Activation("relu"),
        MaxPool2D((2, 2), (2, 2), "valid"),
        Flatten(),
        Dense(rng.normal(size=(64, 2)), rng.normal(size=2), "last"),
    )
    graph = Graph((8, 8, 1), (Part(Chain((8, 8, 1), nodes)),))
    CONVERTER.convert(Conversion(graph, RECIPES["float32"], None), tmp_path / "gray.onnx")
    found = kinds(onnx.load(tmp_path / "gray.onnx"))
    assert found == ["Cast", "Reshape", "Conv", "Relu", "MaxPool", "Reshape", "Gemm"]
    pixels = rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
    expected = graph.evaluate(pixels.astype(float))
    assert np.allclose(answers(tmp_path / "gray.onnx", pixels), expected, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["float32", "weight_only_int8", "static_int8"])
def test_kernels_bear_the_names_of_their_layers(conversions: Conversions, recipe: str) -> None:
    model = onnx.load(conversions.path("onnx", recipe))
    assert [layer_of(item) for item, _ in kernels(model)] == list(LAYERS)


@pytest.mark.parametrize(
    ("recipe", "target", "largest"),
    [
        ("static_int8", "any", 63),
        ("static_int8", "x86", 63),
        ("static_int8", "x86-vnni", 127),
        ("static_int8", "arm64", 127),
        ("dynamic_int8", "any", 63),
        ("dynamic_int8", "arm64", 127),
        ("weight_only_int8", "any", 127),
        ("static_int8_int16", "any", 127),
    ],
)
def test_weights_on_the_grid_of_their_target_are_not_moved(
    make: Make, small_graph: Graph, recipe: str, target: Target, largest: int
) -> None:
    assert largest_weight(RECIPES[recipe], target) == largest
    graph = on_grid(small_graph, largest)
    path, conversion = make(recipe, graph=graph, target=target)
    CONVERTER.check(path, conversion)
    model = onnx.load(path)
    if recipe == "dynamic_int8":
        found = [
            constant(model, item.input[1])
            for item in model.graph.node
            if item.op_type == "MatMulInteger"
        ]
    else:
        found = [steps for _, steps in kernels(model)]
    layers = [item for item in graph.last.nodes if isinstance(item, Conv2D | Dense)][-len(found) :]
    for layer, steps in zip(layers, found, strict=True):
        assert steps is not None
        assert np.abs(steps.astype(int)).max() == largest
        step = np.abs(layer.kernel).max(axis=tuple(range(layer.kernel.ndim - 1))) / largest
        assert np.array_equal(
            np.sort(np.rint(layer.kernel / step).ravel()[layer.kernel.ravel() != 0]),
            np.sort(steps.ravel()[steps.ravel() != 0]),
        )


@pytest.mark.parametrize("recipe", ["weight_only_int8", "static_int8_int16"])
def test_float_file_is_refused_as_one_of_integers(conversions: Conversions, recipe: str) -> None:
    with pytest.raises(RecipeError, match=f"{recipe} promises"):
        CONVERTER.check(conversions.path("onnx", "float32"), conversions.conversion(recipe))


def test_static_int8_is_refused_as_one_with_16_bits(conversions: Conversions) -> None:
    with pytest.raises(RecipeError, match="promises activations of 16 bits, but the file has 8"):
        CONVERTER.check(
            conversions.path("onnx", "static_int8"), conversions.conversion("static_int8_int16")
        )


def test_weights_of_weight_only_int8_are_made_floats_when_loaded(conversions: Conversions) -> None:
    found = CONVERTER.operators(conversions.path("onnx", "weight_only_int8")).operators
    assert not {"DequantizeLinear", "Mul"} & {item.name for item in found}
    assert sum(item.count for item in found if item.name == "Cast") == 1  # of the image


def test_static_int8_stores_steps_between_kernels_only(conversions: Conversions) -> None:
    model = onnx.load(conversions.path("onnx", "static_int8"))
    found = kinds(model)
    assert found.count("QuantizeLinear") == sum(
        (following := producer(model, item.input[0])) is not None
        and following.op_type in (*KERNELS, "Add")
        for item in model.graph.node
        if item.op_type == "QuantizeLinear"
    )
    assert "Relu" not in found


@pytest.mark.parametrize(
    ("module", "edit"),
    [
        (onnx_channels, "pad_pixels"),
        (onnx_channels, "pad_channels"),
        (onnx_integers, "pass_integers_through"),
    ],
)
def test_edit_of_an_integer_graph_changes_no_answer(
    make: Make, conversions: Conversions, monkeypatch: pytest.MonkeyPatch, module: Any, edit: str
) -> None:
    graph = conversions.graph.map(_with_odd_channels)
    with_edit, _ = make("static_int8", graph=graph)
    monkeypatch.setattr(module, edit, lambda *_, **__: None)
    without, _ = make("static_int8", graph=graph)
    assert with_edit.read_bytes() != without.read_bytes()
    pixels = conversions.calibration.first(50)
    assert np.array_equal(answers(with_edit, pixels), answers(without, pixels))


def _with_odd_channels(chain: Chain) -> Chain:
    """Drops what stands between the convolutions but pooling, and one channel of the first."""
    convolutions = [item for item in chain.nodes if isinstance(item, Conv2D)]
    first, second = convolutions
    odd = {
        id(first): dataclasses.replace(first, kernel=first.kernel[..., :7], bias=first.bias[:7]),
        id(second): dataclasses.replace(second, kernel=second.kernel[:, :, :7]),
    }
    nodes = list(chain.nodes)
    between = range(nodes.index(first) + 1, nodes.index(second))
    dropped = {index for index in between if type(nodes[index]).__name__ == "Shift"}
    return chain.with_nodes(
        *(odd.get(id(item), item) for index, item in enumerate(nodes) if index not in dropped)
    )


@pytest.mark.parametrize(("batch", "size"), [(None, None), (0, None), (1, 1), (3, 3)])
@pytest.mark.parametrize("recipe", ["float32", "static_int8"])
def test_batch_is_open_or_fixed_as_asked(
    make: Make, conversions: Conversions, recipe: str, batch: int | None, size: int | None
) -> None:
    path, _ = make(recipe, batch=batch)
    signature = CONVERTER.signature(path)
    assert signature.inputs[0].shape[0] == signature.outputs[0].shape[0] == size
    pixels = conversions.calibration.first(size or 5)
    usual = conversions.path("onnx", recipe)
    assert np.allclose(answers(path, pixels), answers(usual, pixels), atol=1e-5)


@pytest.mark.parametrize("rule", ["min-max", "percentile", "mse"])
def test_steps_follow_the_rule_of_ranges(
    make: Make, monkeypatch: pytest.MonkeyPatch, rule: RangeRule
) -> None:
    seen: dict[str, tuple[float, float]] = {}

    def spy(batches: Any, asked: RangeRule) -> dict[str, tuple[float, float]]:
        assert asked == rule
        seen.update(collect_ranges(batches, asked))
        return seen

    monkeypatch.setattr(onnx_static, "collect_ranges", spy)
    path, _ = make("static_int8", ranges=rule)
    model = onnx.load(path)
    scales = {
        float(np.asarray(constant(model, item.input[1])))
        for item in model.graph.node
        if item.op_type == "QuantizeLinear"
    }
    expected = [(high - low) / 255 for low, high in seen.values()]
    assert scales
    assert all(np.isclose(scale, expected, rtol=1e-5).any() for scale in scales)


def test_calibration_reads_a_few_images_at_a_time(
    conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    batches = PixelFile.batches

    def counted(self: PixelFile, size: int, first: int | None = None) -> Iterator[Any]:
        for batch in batches(self, size, first):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(PixelFile, "batches", counted)
    model = onnx.load(conversions.path("onnx", "float32"))
    model.graph.node.pop(0)  # the Cast: calibration feeds floats
    onnx_graph.rename(model, {"tensor_0_0": "image"})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    stream = onnx_static.activations(model, conversions.calibration)
    first = next(iter(stream))
    assert read == [16]
    assert {"image", "logits"} < set(first)
    assert all(len(values) == 16 for values in first.values())
