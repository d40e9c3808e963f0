import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from support.small_run import HEAD, LABELS, Conversions, SmallRun

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Converter
from edgecell_export.prepare.nodes import Rescale
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import SavedModelSession
from edgecell_export.source import source_probabilities
from edgecell_runtime.engines import Session, engine_for
from edgecell_runtime.errors import ConversionError
from edgecell_runtime.signature import PIXELS, dequantize

EVERY = [(name, recipe) for name, item in CONVERTERS.items() for recipe in item.recipes]
SINGLE_FILES = [(name, recipe) for name, recipe in EVERY if name != "savedmodel"]
# Two to three times what was found: a mistake makes differences of 0.3 and more.
LARGEST = {
    "float32": 1e-5,
    "float16": 1e-2,
    "weight_only_int8": 0.05,
    "dynamic_int8": 0.1,
    "static_int8": 0.15,
    "static_int8_int16": 0.05,
}


def open_session(converter: Converter, path: Path) -> Session:
    if converter.format == "savedmodel":
        return SavedModelSession(path)
    return engine_for(converter.format).open(path.read_bytes(), 1)


def logits(converter: Converter, path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    output = converter.signature(path).outputs[0]
    with open_session(converter, path) as session:
        batch = session.signature.inputs[0].shape[0] or len(pixels)
        rows = [session.run((part,))[0] for part in np.split(pixels, len(pixels) // batch)]
    answers = np.concatenate(rows)
    if output.quantization is None:
        return answers.astype(np.float64)
    return dequantize(answers, output.quantization)


# 4 bits change this net's random weights too much; they are held against rounded weights elsewhere.
@pytest.mark.parametrize(
    ("artifact_format", "recipe"), [item for item in EVERY if item[1] != "weight_only_int4"]
)
def test_converted_model_answers_as_keras_does(
    conversions: Conversions, small_run: SmallRun, artifact_format: str, recipe: str
) -> None:
    pixels = small_run.pixels[::4]
    expected = source_probabilities(small_run.source.model, pixels, HEAD, LABELS)
    path = conversions.path(artifact_format, recipe)
    found = HEAD.probabilities(logits(CONVERTERS[artifact_format], path, pixels), LABELS)
    assert expected[:, 0].std() > 0.2
    assert np.abs(found - expected).max() < LARGEST[recipe]


@pytest.mark.parametrize(("artifact_format", "recipe"), EVERY)
def test_converted_model_keeps_its_recipes_promise(
    conversions: Conversions, artifact_format: str, recipe: str
) -> None:
    path = conversions.path(artifact_format, recipe)
    CONVERTERS[artifact_format].check(path, conversions.conversion(recipe))


@pytest.mark.parametrize(("artifact_format", "recipe"), EVERY)
def test_signature_takes_pixels_and_gives_two_logits(
    conversions: Conversions, artifact_format: str, recipe: str
) -> None:
    path = conversions.path(artifact_format, recipe)
    signature = CONVERTERS[artifact_format].signature(path)
    image, output = signature.inputs[0], signature.outputs[0]
    batch = 1 if artifact_format == "tflite" else None
    assert (image.dtype, image.shape, image.layout) == ("uint8", (batch, 16, 16, 3), "NHWC")
    static = recipe == "static_int8" or (artifact_format, recipe) == ("onnx", "static_int8_int16")
    assert image.quantization == (PIXELS if static else None)
    assert (output.shape, output.layout) == ((batch, 2), "NC")
    quantised = (artifact_format, recipe) == ("tflite", "static_int8")
    assert output.dtype == ("uint8" if quantised else "float32")
    assert (output.quantization is not None) == quantised


@pytest.mark.parametrize("artifact_format", ["onnx", "savedmodel"])
def test_converted_model_gives_the_same_answers_in_batches_of_any_size(
    conversions: Conversions, small_run: SmallRun, artifact_format: str
) -> None:
    converter, pixels = CONVERTERS[artifact_format], small_run.pixels[:7]
    path = conversions.path(artifact_format, "float32")
    together = logits(converter, path, pixels)
    single = [logits(converter, path, pixels[i : i + 1])[0] for i in range(7)]
    assert together.shape == (7, 2)
    assert np.allclose(together, single, atol=1e-5)


def test_tflite_static_int8_computes_in_integers_alone(conversions: Conversions) -> None:
    path = conversions.path("tflite", "static_int8")
    found = CONVERTERS["tflite"].operators(path)
    assert {"CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED"} <= {item.name for item in found.operators}
    assert all(item.integer for item in found.operators)


def test_onnx_static_int8_runs_integer_kernels(conversions: Conversions) -> None:
    found = CONVERTERS["onnx"].operators(conversions.path("onnx", "static_int8"))
    names = {item.name for item in found.operators}
    assert {"QLinearConv", "MaxPool", "QGemm"} <= names
    assert not names & {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "Add", "Relu"}


@pytest.mark.parametrize("recipe", CONVERTERS["onnx"].recipes)
def test_onnx_graph_holds_no_arithmetic_on_shapes_and_no_batchnorm(
    conversions: Conversions, recipe: str
) -> None:
    model = onnx.load(conversions.path("onnx", recipe))
    found = {node.op_type for node in model.graph.node}
    assert "Reshape" in found
    assert not found & {"Shape", "Gather", "BatchNormalization"}


@pytest.mark.parametrize(("artifact_format", "recipe"), EVERY)
def test_operators_count_the_parameters_of_the_model(
    conversions: Conversions, small_run: SmallRun, artifact_format: str, recipe: str
) -> None:
    found = CONVERTERS[artifact_format].operators(conversions.path(artifact_format, recipe))
    layers = [
        small_run.source.model.get_layer(name) for name in ("first", "second", "hidden", "last")
    ]
    least = sum(layer.kernel.shape.num_elements() for layer in layers)
    more = found.parameters - least - (8 + 12 + 64 + 2)  # the biases
    channel = 9 * 3 + 1 + 9 * 12  # one more between the convolutions
    if artifact_format == "savedmodel":
        assert more == 0  # what is no variable is not counted there
    elif not RECIPES[recipe].static:
        assert more == 8  # the levels of the shifted ReLU
    elif artifact_format == "tflite":
        assert more == channel  # the constant one
    else:  # it is filled up to a multiple of what ONNX Runtime is fast with, and so is the image
        assert channel <= more <= 8 * channel


@pytest.mark.parametrize(("artifact_format", "recipe"), SINGLE_FILES)
def test_conversion_gives_the_same_bytes_when_repeated(
    conversions: Conversions, tmp_path: Path, artifact_format: str, recipe: str
) -> None:
    first = conversions.path(artifact_format, recipe)
    CONVERTERS[artifact_format].convert(conversions.conversion(recipe), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == first.read_bytes()


_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from edgecell_export.formats import CONVERTERS
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import prepare
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from support.small_run import Conversions

model = import_keras().models.load_model(sys.argv[1])
graph = prepare(read_graph(model), Head("normalised_sigmoid"))
conversions = Conversions(graph, np.load(sys.argv[2]), Path(sys.argv[3]))
for name in ("tflite", "onnx"):
    for recipe in CONVERTERS[name].recipes:
        conversions.path(name, recipe)
"""


@pytest.mark.slow
def test_conversion_gives_the_same_bytes_in_another_process(
    conversions: Conversions, small_run: SmallRun, tmp_path: Path
) -> None:
    np.save(tmp_path / "pixels.npy", small_run.pixels)
    arguments = [small_run.model_file, tmp_path / "pixels.npy", tmp_path]
    environment = {"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS, *map(str, arguments)],
        env=environment,
        check=True,
    )
    for artifact_format, recipe in SINGLE_FILES:
        here = conversions.path(artifact_format, recipe)
        assert (tmp_path / here.name).read_bytes() == here.read_bytes(), here.name


def test_float16_halves_the_file(conversions: Conversions) -> None:
    whole, half = (
        conversions.path("tflite", recipe).stat().st_size for recipe in ("float32", "float16")
    )
    assert 0.45 < half / whole < 0.6


@pytest.mark.parametrize("recipe", ["dynamic_int8", "static_int8"])
@pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
def test_int8_makes_the_file_less_than_half(
    conversions: Conversions, artifact_format: str, recipe: str
) -> None:
    whole, small = (
        conversions.path(artifact_format, name).stat().st_size for name in ("float32", recipe)
    )
    assert small < 0.45 * whole


def test_formats_give_a_reason_for_every_recipe_that_they_lack() -> None:
    for converter in CONVERTERS.values():
        assert set(converter.recipes) | set(converter.lacking) == set(RECIPES)
        assert not set(converter.recipes) & set(converter.lacking)


_BROKEN_LIBRARIES = {
    "tflite": "edgecell_export.formats.tflite._convert",
    "onnx": "tf2onnx.convert.from_keras",
    "savedmodel": "keras.Model.export",
}


@pytest.mark.parametrize("artifact_format", CONVERTERS)
def test_conversion_says_what_failed_and_what_was_printed_when_a_library_raises(
    conversions: Conversions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    artifact_format: str,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        os.write(2, b"lowering of pass 7 failed\n")
        raise TypeError("no such operator")

    monkeypatch.setattr(_BROKEN_LIBRARIES[artifact_format], broken)
    with pytest.raises(ConversionError, match=r"no such operator.*rinted: .*lowering of pass 7"):
        CONVERTERS[artifact_format].convert(conversions.conversion("float32"), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("artifact_format", ["tflite", "onnx"])
def test_static_int8_takes_plain_pixels_when_the_model_gives_them_an_offset(
    conversions: Conversions, tmp_path: Path, artifact_format: str
) -> None:
    whole = conversions.conversion("static_int8")
    first = whole.graph.last
    offset = Rescale(1.0, -64.0)  # "same" padding lies at 0 behind it, so no bias can take it in
    graph = whole.graph.with_last(first.with_nodes(offset, *first.nodes))
    conversion = dataclasses.replace(whole, graph=graph)
    converter, path = CONVERTERS[artifact_format], tmp_path / "model"
    converter.convert(conversion, path)
    converter.check(path, conversion)
    assert converter.signature(path).inputs[0].quantization == PIXELS
    pixels = conversions.calibration.first(40)
    expected = graph.evaluate(pixels.astype(float))
    without = conversions.graph.evaluate(pixels.astype(float))
    assert np.abs(without - expected).mean() > 0.3 * expected.std()
    assert np.abs(logits(converter, path, pixels) - expected).max() < 0.25 * expected.std()
