"""``cnn-3d`` at a reduced size, from volumes in files to a device."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keras_models import train_a_little

from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exported, Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.keras_build import build_model
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare.nodes import MaxPool3D
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.source import (
    Answer,
    Evidence,
    KnownImage,
    SourceModel,
    source_outputs,
    source_probabilities,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime import Classifier
from edgecell_runtime.errors import ImageError, UsageError
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_runtime.manifest import Source
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.presets.cnn_3d import build

LABELS = ("Clear", "Dense")
HEAD = Head("sigmoid", "Dense")
SPEC = PreprocessSpec(10, 9, depth=8)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelledImages]:
    """A hundred and twenty volumes in class folders, as ``.npy``."""
    folder, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(3)
    for number in range(120):
        brightest = rng.integers(40, 256)
        volume = rng.integers(0, brightest, SPEC.shape, np.uint8)
        path = folder / LABELS[number % 2] / f"{number}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, volume)
    with open_labelled(folder) as images:
        yield images


@pytest.fixture(scope="module")
def model(volumes: LabelledImages) -> Any:
    """The net with random weights, and answers spread over 0 to 1."""
    import_keras().utils.set_random_seed(4)
    net = build(SPEC.shape, 2)
    for layer in net.layers:
        if layer.weights:  # no bias stays zero, so that none can get lost
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.linspace(-0.1, 0.1, len(bias), dtype=np.float32)])
    answers = source_outputs(net, _pixels(volumes))
    logits = np.log(answers / (1 - answers))
    last = net.get_layer("output")
    kernel, bias = last.get_weights()
    factor = 2 / logits.std()
    last.set_weights([kernel * factor, (bias - logits.mean()) * factor])
    return net


@pytest.fixture(scope="module")
def source(model: Any) -> SourceModel:
    return SourceModel("cnn-3d", model, LABELS, SPEC, HEAD, Source("4" * 64), "Dense")


@pytest.fixture(scope="module")
def exporter(volumes: LabelledImages, source: SourceModel) -> Iterator[Exporter]:
    known = [
        KnownImage(image.name, hashlib.sha256(volumes.read(image)).hexdigest(), image.label)
        for image in volumes
    ]
    answers = source_probabilities(source.model, _pixels(volumes), HEAD, LABELS)
    assert np.ptp(answers, axis=0).min() > 0.5  # it does look at the volumes
    held_out = [
        Answer(image, tuple(map(float, answer)))
        for image, answer in zip(known, answers, strict=True)
    ]
    some = [image for image in known if int(Path(image.name).stem) >= 60]
    tested = [answer for answer in held_out if int(Path(answer.image.name).stem) < 60]
    evidence = Evidence(volumes, some[:4], tested, seed=1, validation=some[4:])
    with Exporter(source, evidence, runner=ConvertHere()) as opened:
        yield opened


@pytest.fixture(scope="module", params=["onnx", "savedmodel"])
def exported(
    request: pytest.FixtureRequest, exporter: Exporter, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    folder = tmp_path_factory.mktemp("exports")
    return exporter.export(CONVERTERS[request.param], RECIPES["float32"], folder)


def _pixels(volumes: LabelledImages) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([SPEC.apply(volumes.read(image)) for image in volumes])


def test_volumes_pass_parity_from_the_file_on(exported: Exported) -> None:
    parity = exported.manifest.parity
    assert parity is not None
    assert (parity.sample, parity.changed_labels, parity.loosened) == (60, 0.0, False)
    assert 0 < parity.largest_difference < 1e-5


def test_artifact_says_that_it_takes_volumes(exported: Exported) -> None:
    manifest = exported.manifest
    assert manifest.preprocessing == SPEC
    assert manifest.signature.inputs[0].shape == (None, 8, 10, 9, 3)
    assert manifest.signature.inputs[0].layout == "NDHWC"
    assert manifest.signature.inputs[0].dtype == "uint8"
    assert "8 x 10 x 9 voxels (depth x height x width)" in exported.card.read_text("utf-8")


def test_artifact_answers_as_the_model_does_on_a_file(
    exported: Exported, volumes: LabelledImages, model: Any
) -> None:
    path = volumes.location / "Dense" / "7.npy"
    expected = float(model.predict(np.load(path)[None], verbose=0)[0, 0])
    with open_classifier(exported.path) as classifier:
        prediction = classifier.predict(path)
        with pytest.raises(ImageError, match="Volumes are not resized"):
            classifier.predict(np.load(path)[:4])
    assert prediction.probabilities["Dense"] == pytest.approx(expected, abs=1e-5)
    assert prediction.positive == (expected >= 0.5)


def test_onnx_of_volumes_runs_on_a_device(exporter: Exporter, tmp_path: Path) -> None:
    exported = exporter.export(CONVERTERS["onnx"], RECIPES["float32"], tmp_path)
    with Classifier.open(exported.path) as classifier:
        assert classifier.engine == "onnxruntime"
        assert classifier.engine_report[-1].reason.startswith("proved: golden answers")


@pytest.mark.parametrize("recipe", ["float32", "float16", "static_int8"])
def test_tflite_is_refused_for_volumes_with_the_reason(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(ConvertHere, "run", _never)
    with pytest.raises(UsageError, match=r"TFLite has no 3-D pooling\. Export the model to ONNX"):
        exporter.export(CONVERTERS["tflite"], RECIPES[recipe], tmp_path / "made")
    with pytest.raises(UsageError, match="TFLite has no 3-D pooling"):
        exporter.choose(CONVERTERS["tflite"], tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "recipe", [name for name in CONVERTERS["onnx"].recipes if RECIPES[name].integer_weights]
)
def test_integers_are_refused_for_volumes(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(ConvertHere, "run", _never)
    with pytest.raises(UsageError, match=f"onnx has no {recipe} for volumes.*as float32"):
        exporter.export(CONVERTERS["onnx"], RECIPES[recipe], tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_recipe_that_suits_volumes_is_chosen(exporter: Exporter, tmp_path: Path) -> None:
    exported, tried = exporter.choose(CONVERTERS["onnx"], tmp_path)
    assert exported.manifest.recipe == "float32"
    refusals = {candidate.recipe: candidate.refused or "" for candidate in tried}
    assert set(refusals) == set(CONVERTERS["onnx"].recipes)
    assert [recipe for recipe, refused in refusals.items() if not refused] == ["float32"]
    assert all("for volumes" in refused for refused in refusals.values() if refused)


def _never(*arguments: object) -> None:
    pytest.fail(f"converted {arguments}")


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "strides"), [(2, None), ((3, 2, 1), (1, 2, 3))])
def test_pooling_of_volumes_is_read_and_built_as_it_is(
    size: Any, strides: Any, padding: str
) -> None:
    keras = import_keras()
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((7, 8, 9, 2)),
            layers.Conv3D(3, 2, name="convolution"),
            layers.MaxPooling3D(size, strides, padding),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling3D(),
            layers.Dense(2),
        ]
    )
    train_a_little(net)
    pixels = np.random.default_rng(6).uniform(-1, 1, (3, 7, 8, 9, 2)).astype(np.float32)
    graph = read_graph(net)
    assert any(isinstance(node, MaxPool3D) for node in graph.last.nodes)
    expected = net.predict(pixels, verbose=0)
    np.testing.assert_allclose(graph.evaluate(pixels), expected, rtol=1e-4, atol=1e-5)
    built = build_model(graph, input_dtype="float32", batch=None)
    np.testing.assert_allclose(built.predict(pixels, verbose=0), expected, rtol=1e-4, atol=1e-5)
