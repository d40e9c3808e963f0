"""Doors inside of an export: calibration, the converter, the engine, and the recipe's promise."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from support.refusals import refused
from support.small_run import SmallRun

from edgecell_export.conversion_process import Converted, ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_graph import TFLiteGraph
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Evidence, KnownImage, SourceModel
from edgecell_export.tensorflow import import_keras, import_tensorflow
from edgecell_runtime.errors import ConversionError, EngineError, ExportError, RecipeError
from edgecell_runtime.manifest import Format

INTEGERS = ["weight_only_int8", "dynamic_int8", "static_int8"]


# Calibration


def with_training(run: SmallRun, *more: KnownImage) -> Evidence:
    return dataclasses.replace(run.evidence, training=[*run.evidence.training, *more])


@pytest.mark.parametrize("recipe", INTEGERS)
def test_export_is_refused_when_calibration_would_use_a_test_patients_image(
    small_run: SmallRun, folder: Path, recipe: str
) -> None:
    """Another image of the same patient than those that parity uses."""
    of_test = small_run.evidence.held_out[0].image
    image = dataclasses.replace(small_run.evidence.training[0], patient=of_test.patient)
    error = refused(small_run.source, with_training(small_run, image), folder, recipe=recipe)
    assert isinstance(error, ExportError)
    assert f"1 training images, such as {image.name}, are of test patients" in str(error)
    assert "Train again, so that patients are split anew." in str(error)


def test_export_is_refused_when_calibration_would_use_a_test_image_without_a_patient(
    small_run: SmallRun, folder: Path
) -> None:
    image = dataclasses.replace(small_run.evidence.held_out[0].image, patient=None)
    evidence = with_training(small_run, image)
    error = refused(small_run.source, evidence, folder, recipe="static_int8")
    assert "or are test images themselves" in str(error)


def test_images_without_patients_are_not_all_of_one_patient(
    small_run: SmallRun, tmp_path: Path
) -> None:
    evidence = small_run.evidence
    training = [dataclasses.replace(image, patient=None) for image in evidence.training]
    held_out = [
        dataclasses.replace(answer, image=dataclasses.replace(answer.image, patient=None))
        for answer in evidence.held_out
    ]
    evidence = dataclasses.replace(evidence, training=training, held_out=held_out)
    with Exporter(small_run.source, evidence, runner=ConvertHere()) as exporter:
        exported = exporter.export(CONVERTERS["tflite"], RECIPES["static_int8"], tmp_path)
    assert exported.manifest.calibration is not None


# The recipe's promise


class OtherConversion(ConvertHere):
    """A converter that does something else than it was told, as real ones did without a word."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        return super().run(form, dataclasses.replace(conversion, **self._changes), path)


@pytest.mark.parametrize("name", ["tflite", "onnx"])
@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": RECIPES["float32"]},
        {"recipe": RECIPES["dynamic_int8"]},
        {"float_layers": frozenset({"hidden"})},
        {"float_layers": frozenset({"first"})},
    ],
    ids=["float32", "dynamic", "a dense layer", "a convolution"],
)
def test_static_int8_is_refused_when_it_has_float_kernels_inside(
    small_run: SmallRun, folder: Path, name: str, changes: dict[str, Any]
) -> None:
    error = refused(
        small_run.source,
        small_run.evidence,
        folder,
        name=name,
        recipe="static_int8",
        runner=OtherConversion(**changes),
    )
    assert isinstance(error, RecipeError)
    assert "static_int8 promises integer kernels" in str(error)


# The converter


LIBRARIES = {
    "tflite": "edgecell_export.formats.tflite._convert",
    "onnx": "tf2onnx.convert.from_keras",
    "savedmodel": "keras.Model.export",
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_export_is_refused_when_the_converter_raises(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        os.write(2, b"lowering of pass 7 failed\n")
        raise TypeError("no such thing")

    monkeypatch.setattr(LIBRARIES[name], broken)
    error = refused(small_run.source, small_run.evidence, folder, name=name)
    assert isinstance(error, ConversionError)
    assert "no such thing. Convert to another format or recipe, or report this." in str(error)
    assert "lowering of pass 7 failed" in str(error)


# Operators


@pytest.fixture(scope="module")
def odd(small_run: SmallRun) -> SourceModel:
    """The small model with a function that neither TFLite nor ONNX has."""
    keras, tensorflow = import_keras(), import_tensorflow()

    @keras.saving.register_keras_serializable("edgecell-tests")
    class Digamma(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, tensor: Any) -> Any:
            return tensorflow.math.digamma(tensor + 2.0)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    model = keras.models.load_model(small_run.model_file)
    tensor = Digamma(name="odd")(model.get_layer("hidden").output)
    model = keras.Model(model.inputs, model.get_layer("last")(tensor))
    return dataclasses.replace(small_run.source, model=model)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [(name, recipe) for name in ("tflite", "onnx") for recipe in ("float32", *INTEGERS)],
)
def test_export_is_refused_by_name_when_the_format_lacks_an_operator(
    small_run: SmallRun, odd: SourceModel, folder: Path, name: str, recipe: str
) -> None:
    error = refused(odd, small_run.evidence, folder, name=name, recipe=recipe)
    assert isinstance(error, ConversionError)
    form = {"tflite": "TFLite", "onnx": "ONNX"}[name]
    assert str(error) == (
        f"{form} has no operator Digamma, which a layer of this model needs. Build the model of "
        "other layers, or export a SavedModel."
    )


class UnknownOperator(ConvertHere):
    """Converts, then puts an operator of somebody else's into the file."""

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        converted = super().run(form, conversion, path)
        if form == "onnx":
            model = onnx.load(path)
            node = next(item for item in model.graph.node if item.op_type == "MaxPool")
            node.op_type, node.domain = "LoudestPool", "com.example"
            model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
            onnx.save(model, path)
        else:
            graph = TFLiteGraph(path.read_bytes())
            pool = next(item for item in graph.graph.operators if "POOL" in graph.kind(item))
            code = graph.model.operatorCodes[pool.opcodeIndex]
            custom = graph.schema.BuiltinOperator.CUSTOM
            code.builtinCode, code.deprecatedBuiltinCode = custom, custom
            code.customCode = b"LoudestPool"
            path.write_bytes(graph.to_bytes())
        return converted


@pytest.mark.parametrize("recipe", ["float32", "static_int8"])
@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_export_is_refused_by_name_when_the_engine_lacks_an_operator(
    small_run: SmallRun, folder: Path, name: str, recipe: str
) -> None:
    error = refused(
        small_run.source,
        small_run.evidence,
        folder,
        name=name,
        recipe=recipe,
        runner=UnknownOperator(),
    )
    assert isinstance(error, ConversionError)
    assert isinstance(error.__cause__, EngineError | ConversionError)
    assert "LoudestPool" in str(error)
