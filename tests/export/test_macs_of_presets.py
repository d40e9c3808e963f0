"""Multiply-accumulates of every preset: the exported file's are the Keras model's own."""

import math
from pathlib import Path
from typing import Any

import pytest

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.keras_graph import read_graph
from edgecell_export.macs import onnx_macs, tflite_macs
from edgecell_export.prepare import for_floats, prepare
from edgecell_export.recipes import RECIPES
from edgecell_runtime.heads import Head
from edgecell_train.presets import PRESETS, find_preset

COUNT = {"tflite": tflite_macs, "onnx": onnx_macs}
LEAST = {"malaria-cnn": (64, 64, 3), "malaria-gap": (32, 36, 3), "cnn-3d": (8, 9, 10, 3)}

MALARIA_CNN = sum(
    (
        64 * 64 * 32 * (3 * 3 * 3),  # the first convolution keeps 64 x 64
        32 * 32 * 32 * (3 * 3 * 32),  # behind the first pooling
        16 * 16 * 32 * 512,  # all that the second pooling leaves
        512 * 256,
        256 * 2,
    )
)


def _keras_macs(model: Any) -> int:
    """Of each layer with a kernel, for each of the places that it answers for."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            places = math.prod(layer.output.shape[1:-1])
            total += places * math.prod(layer.kernel.shape)
    return total


def _convert(name: str, artifact_format: str, folder: Path) -> tuple[Any, bytes]:
    preset = find_preset(name)
    shape = LEAST.get(name, (28, 24, preset.preprocessing.channels))
    model = preset.build(shape, 2)
    head = Head("sigmoid", "Dense") if preset.head == "sigmoid" else Head(preset.head)
    converter = CONVERTERS[artifact_format]
    path = folder / f"model{converter.suffix}"
    graph = for_floats(prepare(read_graph(model), head))
    converter.convert(Conversion(graph, RECIPES["float32"], None), path)
    return model, path.read_bytes()


@pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
def test_malaria_cnn_is_counted_as_by_hand(artifact_format: str, tmp_path: Path) -> None:
    assert MALARIA_CNN == 17_302_016
    model, data = _convert("malaria-cnn", artifact_format, tmp_path)
    assert _keras_macs(model) == MALARIA_CNN
    assert COUNT[artifact_format](data) == MALARIA_CNN


def test_channels_that_an_onnx_file_adds_are_counted(tmp_path: Path) -> None:
    model, data = _convert("cell-nano", "onnx", tmp_path)
    kernels = [layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")]
    assert [shape[-1] for shape in kernels] == [8, 10, 10, 10, 2]
    # ONNX Runtime computes 16 channels faster than 10, so that the middle two have as many.
    by_hand = (
        14 * 12 * 8 * 27 + 7 * 6 * 16 * (8 * 9) + 7 * 6 * 16 * (16 * 9) + 4 * 3 * 10 * (16 * 9)
    )
    assert onnx_macs(data) == by_hand + 10 * 2


NOT_CONVERTIBLE = ("cnn-3d", "tflite")
WITH_MORE_CHANNELS = ("cell-nano", "onnx")
OTHERS = [
    (name, artifact_format)
    for name in PRESETS
    for artifact_format in COUNT
    if name != "malaria-cnn"
    and (name, artifact_format) not in (NOT_CONVERTIBLE, WITH_MORE_CHANNELS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "artifact_format"), OTHERS)
def test_preset_is_counted_as_by_its_layers(
    name: str, artifact_format: str, tmp_path: Path
) -> None:
    model, data = _convert(name, artifact_format, tmp_path)
    assert COUNT[artifact_format](data) == _keras_macs(model)
