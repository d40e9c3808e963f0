"""Every 2-D preset, at a reduced size, goes from a Keras model to a device and answers the same.

The weights are random; BatchNormalization has the statistics of the images, as training leaves
them, behind factors that are negative too.
"""

import contextlib
import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import micro_engine
import microcontroller
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.small_run import draw_cells

from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS, onnx_checks
from edgecell_export.formats.base import Conversion
from edgecell_export.prepare.graph import Chain, Graph, Part
from edgecell_export.prepare.nodes import Flatten
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Answer, Evidence, KnownImage, SourceModel, source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import RecipeError
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import LabelledImages, open_labelled
from edgecell_runtime.manifest import Source
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.presets import PRESETS, find_preset

SPECS = {
    "malaria-cnn": PreprocessSpec(16, 16),
    "malaria-gap": PreprocessSpec(24, 30),
    "cell-nano": PreprocessSpec(24, 24),
    "cell-micro": PreprocessSpec(24, 20),
    "cell-small": PreprocessSpec(17, 24),
    "mnist-cnn": PreprocessSpec(28, 28, color_mode="L"),
    "cnn-128": PreprocessSpec(16, 24),
    "cnn-128-regularised": PreprocessSpec(16, 16),
    "logistic": PreprocessSpec(12, 12),
    "mlp": PreprocessSpec(12, 12, color_mode="L"),
}
LARGEST = {"cell-nano": 10_240, "cell-micro": 30_720, "cell-small": 102_400}
"""Bytes of the int8 TFLite file with its manifest, whatever the images' size."""
LARGEST_ARENA = {"cell-nano": 32_768, "cell-micro": 49_152, "cell-small": 65_536}
"""Bytes that TFLite Micro may need for it."""
WITHOUT_POSITIVE_LABEL = ("mnist-cnn", "mlp")

DIFFERENCE = {"float32": 1e-4, "static_int8": 0.15}
"""Of a probability; what was found is 2e-5 and 0.09 at most."""

Images = tuple[LabelledImages, list[KnownImage]]


def draw_digits(folder: Path) -> Images:
    """Scikit-learn's handwritten digits (Alpaydin and Kaynak 1998), 8 x 8 grey, ten classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if index < 600:
            (folder / str(label)).mkdir(exist_ok=True)
            pixels = (image * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{index}.png")
    images = open_labelled(folder)
    known = [
        KnownImage(image.name, hashlib.sha256(images.read(image)).hexdigest(), image.label)
        for image in images
    ]
    return images, known


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Images]:
    """Images of a preset's kind."""
    cells, digits = tmp_path_factory.mktemp("cells"), tmp_path_factory.mktemp("digits")
    drawn = draw_cells(cells, 300)[:2]
    written = draw_digits(digits)
    return lambda name: written if name == "mnist-cnn" else drawn


def perturb(model: Any, pixels: NDArray[np.uint8]) -> None:
    """Gives the net weights that initialisation does not, and spread answers."""
    keras = import_keras()
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            signs = rng.choice([-1, 1, 1, 1], layer.gamma.shape)
            layer.gamma.assign(signs * rng.uniform(0.3, 2, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
            layer.momentum = 0.0
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    model(pixels.astype(np.float32), training=True)  # sets the statistics
    last = model.get_layer("output")
    features = keras.Model(model.inputs, last.input).predict(pixels, verbose=0).astype(float)
    # What the features differ most in; small differences would be those that rounding makes, too.
    outputs = last.kernel.shape[-1]
    axes = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[2][:outputs]
    kernel = axes.T @ rng.normal(size=(outputs, outputs))
    kernel *= 3 / (features @ kernel).std(axis=0)
    last.set_weights([kernel, -(features @ kernel).mean(axis=0)])


def make_case(name: str, found: Images) -> tuple[SourceModel, Evidence]:
    """A preset's net with random weights, and what it answers."""
    images, known = found
    preset, spec, labels = find_preset(name), SPECS[name], images.labels
    positive = None if name in WITHOUT_POSITIVE_LABEL else "Parasitized"
    import_keras().utils.set_random_seed(3)
    model = preset.build(spec.shape, len(labels))
    pixels = np.stack([spec.apply(images.read(image)) for image in images])
    perturb(model, pixels)
    head = Head(preset.head, (positive or labels[1]) if preset.head == "sigmoid" else None)
    answers = source_probabilities(model, pixels, head, labels)
    ranked = np.sort(answers, axis=1)
    # A toss-up may fall to either side with the rounding of 8 bits.
    clear = ranked[:, -1] - ranked[:, -2] > 0.2
    testing = np.array(
        [
            i % 3 == 0 if image.patient is None else image.patient < "P4"
            for i, image in enumerate(known)
        ]
    )
    held_out = [
        Answer(known[i], tuple(map(float, answers[i]))) for i in np.flatnonzero(testing & clear)
    ]
    training = [known[i] for i in np.flatnonzero(~testing)]
    source = Source(weights_sha256="4" * 64, time="2026-01-02T03:04:05Z")
    made = SourceModel(name, model, labels, spec, head, source, positive_label=positive)
    return made, Evidence(images, training, held_out, seed=7)


@pytest.fixture(scope="module")
def cases(pictures: Callable[[str], Images]) -> Iterator[Callable[[str], Any]]:
    """The net of a preset with its exporter, made once."""
    made: dict[str, tuple[SourceModel, Evidence, Exporter]] = {}

    def find(name: str) -> Any:
        if name not in made:
            source, evidence = make_case(name, pictures(name))
            exporter = Exporter(source, evidence, runner=ConvertHere())
            made[name] = (source, evidence, exporter)
        return made[name]

    yield find
    for *_, exporter in made.values():
        exporter.close()


def test_every_preset_of_images_is_exported_here() -> None:
    images = {name for name, preset in PRESETS.items() if len(preset.preprocessing.shape) == 3}
    assert images == set(SPECS)


@pytest.mark.parametrize("recipe", [pytest.param("float32", marks=pytest.mark.slow), "static_int8"])
@pytest.mark.parametrize("form", ["tflite", "onnx"])
@pytest.mark.parametrize("name", SPECS)
def test_preset_answers_on_a_device_as_its_keras_model_does(
    cases: Callable[[str], Any], tmp_path: Path, name: str, form: str, recipe: str
) -> None:
    source, evidence, exporter = cases(name)
    exported = exporter.export(CONVERTERS[form], RECIPES[recipe], tmp_path)
    assert exported.manifest.parity.sample >= 50
    if (form, recipe) == ("tflite", "static_int8"):
        assert exported.path.stat().st_size <= LARGEST.get(name, math.inf)
    with Classifier.open(exported.path, threads=1) as classifier:
        assert classifier.manifest.head == source.head
        assert classifier.manifest.preprocessing == SPECS[name]
        assert classifier.labels == source.labels
        assert "not proved" not in classifier.engine_report[-1].reason
        labels = set()
        for answer in evidence.held_out[::5]:
            found = classifier.predict(evidence.images.location / answer.image.name)
            expected = dict(zip(source.labels, answer.probabilities, strict=True))
            assert found.label == max(expected, key=expected.__getitem__)
            assert found.probabilities == pytest.approx(expected, abs=DIFFERENCE[recipe])
            assert (found.positive is None) == (source.positive_label is None)
            labels.add(found.label)
    assert len(labels) >= 2  # the net does look at the image


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="TFLite Micro is not installed (--group microcontroller)",
)
@pytest.mark.parametrize("name", LARGEST_ARENA)
def test_small_preset_runs_in_tflite_micro_at_its_full_size(
    pictures: Callable[[str], Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spec = find_preset(name).preprocessing
    monkeypatch.setitem(SPECS, name, spec)
    source, evidence = make_case(name, pictures(name))
    with Exporter(source, evidence, runner=ConvertHere()) as exporter:
        path = exporter.export(CONVERTERS["tflite"], RECIPES["static_int8"], tmp_path).path
    images = list(evidence.images)[::5]
    pixels = np.stack([spec.apply(evidence.images.read(image)) for image in images])
    arena = micro_engine.smallest_arena(path, pixels)
    assert math.prod(spec.shape) < arena.smallest <= LARGEST_ARENA[name]
    found, _ = micro_engine.answer(path, pixels, arena.smallest)
    wanted = microcontroller.plain_answers(path, pixels)
    # One of a thousand answers is one step away: the last dense layer rounds otherwise.
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert np.ptp(found, axis=0).min() > 10  # the net does look at the image


@pytest.mark.parametrize(
    ("layers", "float_layers", "refused"),
    [(1, frozenset(), False), (2, frozenset(), True), (1, frozenset({"output"}), True)],
)
def test_onnx_without_quantised_activations_is_refused_unless_one_layer_is_all(
    layers: int, float_layers: frozenset[str], refused: bool
) -> None:
    make = onnx.helper.make_node
    nodes = [make("Gemm", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(layers)]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", [], []))
    chain = Chain((2, 2, 3), (Flatten(),))
    graph = Graph((2, 2, 3), (Part(chain),))
    conversion = Conversion(graph, RECIPES["static_int8"], None, float_layers=float_layers)
    with (
        pytest.raises(RecipeError, match="of 8 bits, but the file has none")
        if refused
        else contextlib.nullcontext()
    ):
        onnx_checks.check_activations(model, conversion)
