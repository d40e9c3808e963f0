"""What the options of an export change in the artifact, its manifest and its card."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_run import LABELS, SmallRun

from edgecell_export import exporting
from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exported, Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.options import ExportOptions
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.source import Answer, SourceModel, source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import ParityError, UsageError
from edgecell_runtime.heads import Head, HeadKind
from edgecell_runtime.manifest import Parity

FLOAT32, STATIC = RECIPES["float32"], RECIPES["static_int8"]
FORMATS = pytest.mark.parametrize("name", ["tflite", "onnx", "savedmodel"])


def export(
    run: SmallRun, folder: Path, name: str, recipe: str = "float32", **options: Any
) -> Exported:
    with Exporter(
        run.source, run.evidence, ExportOptions(**options), runner=ConvertHere()
    ) as exporter:
        return exporter.export(CONVERTERS[name], RECIPES[recipe], folder)


# Tolerance


@pytest.fixture
def a_little_off(small_run: SmallRun) -> SmallRun:
    """Stored answers of which some differ by twice what float32 allows."""
    held_out = []
    for answer in small_run.evidence.held_out:
        p = answer.probabilities[0]
        moved = p + (2e-4 if p < 0.5 else -2e-4)
        held_out.append(Answer(answer.image, (moved, 1 - moved)))
    evidence = dataclasses.replace(small_run.evidence, held_out=held_out)
    return dataclasses.replace(small_run, evidence=evidence)


def test_export_that_fails_parity_by_a_little_passes_when_loosened_and_is_marked(
    a_little_off: SmallRun, tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match=r"differs by 2\.\d+e-04 \(at most 1e-04\)"):
        export(a_little_off, tmp_path / "refused", "tflite")
    assert not list((tmp_path / "refused").iterdir())
    exported = export(a_little_off, tmp_path, "tflite", tolerance=3)
    manifest = read_artifact(exported.path).manifest
    assert manifest.parity is not None
    assert (manifest.parity.loosened, manifest.loosened) == (True, True)
    assert manifest.parity.limits.largest_difference == pytest.approx(3e-4)
    assert 1e-4 < manifest.parity.largest_difference < 3e-4
    card = exported.card.read_text(encoding="utf-8")
    assert "| limits | **loosened by hand: wider than the recipe's own** |" in card
    assert exported.path.name == "small-float32-loosened.tflite"


def test_export_is_refused_when_it_fails_by_more_than_the_tolerance(
    a_little_off: SmallRun, tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match=r"\(at most 2e-04\)"):
        export(a_little_off, tmp_path, "tflite", tolerance=1.5)


def test_card_says_nothing_of_limits_that_were_not_loosened(
    small_run: SmallRun, tmp_path: Path
) -> None:
    exported = export(small_run, tmp_path, "tflite")
    assert "loosened" not in exported.card.read_text(encoding="utf-8")
    assert not exported.manifest.loosened


# Ending in probabilities


def with_head(run: SmallRun, kind: HeadKind, temperature: float) -> SmallRun:
    """The small model with another last activation, and what it answers at a temperature."""
    keras = import_keras()
    model = keras.models.load_model(run.model_file)
    last = model.get_layer("last")
    kernel, bias = last.get_weights()
    outputs, tensor = (1 if kind == "sigmoid" else 2), model.get_layer("hidden").output
    activation = "softmax" if kind == "softmax" else "sigmoid"
    dense = keras.layers.Dense(outputs, activation=activation, name="last")
    model = keras.Model(model.inputs, dense(tensor))
    dense.set_weights([kernel[:, :outputs], bias[:outputs]])
    head = Head(kind, LABELS[1] if kind == "sigmoid" else None)
    source = dataclasses.replace(run.source, model=model, head=head, temperature=temperature)
    return dataclasses.replace(run, source=source)


def answers_of(source: SourceModel, pixels: np.ndarray) -> np.ndarray:
    """The source model's answers at its temperature: the logits follow from its probabilities."""
    raw = np.asarray(source.model.predict(pixels, verbose=0), np.float64)
    log = np.log(raw) if source.head.kind == "softmax" else np.log(raw) - np.log1p(-raw)
    return source.head.probabilities(log, source.labels, source.temperature)


def answering(run: SmallRun) -> SmallRun:
    """The run with the stored answers of its model at its temperature."""
    known = [answer.image for answer in run.evidence.held_out]
    pixels = [run.source.preprocessing.apply(run.folder / image.name) for image in known]
    rows = answers_of(run.source, np.stack(pixels))
    held_out = [
        Answer(image, tuple(map(float, row))) for image, row in zip(known, rows, strict=True)
    ]
    return dataclasses.replace(run, evidence=dataclasses.replace(run.evidence, held_out=held_out))


@pytest.fixture(params=["softmax", "sigmoid", "normalised_sigmoid"], scope="module")
def warm_run(small_run: SmallRun, request: pytest.FixtureRequest) -> SmallRun:
    return answering(with_head(small_run, request.param, 1.75))


@FORMATS
def test_probabilities_out_of_the_graph_are_the_sources(
    warm_run: SmallRun, tmp_path: Path, name: str
) -> None:
    exported = export(warm_run, tmp_path, name, end="probabilities")
    pixels = warm_run.pixels[::7]
    expected = answers_of(warm_run.source, pixels)
    without = dataclasses.replace(warm_run.source, temperature=1.0)
    assert np.abs(answers_of(without, pixels) - expected).max() > 0.02
    with open_classifier(exported.path, threads=1) as classifier:
        graph = classifier.logits(pixels)
        assert np.abs(classifier.probabilities(pixels) - expected).max() < 1e-4
    assert graph.shape == (len(pixels), 2)
    assert np.abs(graph - expected).max() < 1e-4
    assert np.abs(graph.sum(axis=1) - 1).max() < 1e-5
    manifest = exported.manifest
    assert (manifest.head, manifest.temperature) == (Head("probabilities"), 1.0)
    if name == "onnx":
        assert manifest.signature.outputs[0].name == "probabilities"
    assert exported.path.name == f"small-float32-probabilities{CONVERTERS[name].suffix}"
    assert "| head | probabilities, temperature 1 |" in exported.card.read_text(encoding="utf-8")


def test_probabilities_out_of_an_integer_graph_are_the_sources(
    small_run: SmallRun, tmp_path: Path
) -> None:
    for name in ("tflite", "onnx"):
        exported = export(small_run, tmp_path, name, "dynamic_int8", end="probabilities")
        with open_classifier(exported.path, threads=1) as classifier:
            graph = classifier.logits(small_run.pixels[::7])
        expected = source_probabilities(
            small_run.source.model, small_run.pixels[::7], small_run.source.head, LABELS
        )
        assert np.abs(graph.sum(axis=1) - 1).max() < 1e-5
        assert np.abs(graph - expected).max() < 0.05


def test_probabilities_are_refused_for_static_integers(small_run: SmallRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="probabilities would have steps of 1/256"):
        export(small_run, tmp_path / "made", "tflite", "static_int8", end="probabilities")
    assert not (tmp_path / "made").exists()


# Batches


@pytest.fixture(
    params=[(name, recipe) for name in ("tflite", "onnx") for recipe in (FLOAT32, STATIC)]
    + [("savedmodel", FLOAT32)],
    ids=lambda pair: f"{pair[0]}-{pair[1].name}",
    scope="module",
)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def exporters(small_run: SmallRun) -> Iterator[dict[int | None, Exporter]]:
    """By batch size, so that what they share is made once."""
    found = {
        batch: Exporter(
            small_run.source,
            small_run.evidence,
            ExportOptions(batch=batch, tolerance=5),
            runner=ConvertHere(),
        )
        for batch in (None, 0, 4)
    }
    yield found
    for exporter in found.values():
        exporter.close()


@pytest.mark.parametrize("batch", [0, 4])
def test_classifier_answers_for_any_number_of_images_whatever_the_batch(
    small_run: SmallRun, exporters: Any, tmp_path: Path, kind: Any, batch: int
) -> None:
    name, recipe = kind
    usual = exporters[None].export(CONVERTERS[name], recipe, tmp_path)
    exported = exporters[batch].export(CONVERTERS[name], recipe, tmp_path)
    assert exported.path.name.startswith(f"small-{recipe.name}-batch{batch}")
    signature = exported.manifest.signature
    assert signature.inputs[0].shape[0] == signature.outputs[0].shape[0] == (batch or None)
    with (
        open_classifier(usual.path, threads=1) as one,
        open_classifier(exported.path, threads=1) as other,
    ):
        for count in (1, 4, 6):
            pixels = small_run.pixels[:count]
            found = other.probabilities(pixels)
            assert found.shape == (count, 2)
            assert np.abs(found - one.probabilities(pixels)).max() < 1e-5
        file = small_run.folder / small_run.evidence.held_out[0].image.name
        assert other.predict(file).label == one.predict(file).label


# Target


@pytest.mark.parametrize(
    ("name", "recipe", "written"),
    [
        ("onnx", "static_int8", "x86-vnni"),
        ("onnx", "dynamic_int8", "x86-vnni"),
        ("tflite", "static_int8", "any"),
    ],
)
def test_manifest_names_the_target_where_it_makes_a_difference(
    small_run: SmallRun, tmp_path: Path, name: str, recipe: str, written: str
) -> None:
    asked = export(small_run, tmp_path, name, recipe, target="x86-vnni")
    assert asked.manifest.target == written
    said = "any processor" if written == "any" else written
    assert f"| made for | {said} |" in asked.card.read_text(encoding="utf-8")
    usual = export(small_run, tmp_path / "usual", name, recipe)
    same = read_artifact(usual.path).data == read_artifact(asked.path).data
    assert same == (written == "any")


def test_limits_that_are_measured_are_the_loosened_ones(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own limits take no part in the refusal once a tolerance is given."""
    seen: list[Parity] = []
    monkeypatch.setattr(exporting, "require_parity", seen.append)
    export(small_run, tmp_path, "tflite", tolerance=2)
    assert seen[0].limits == ExportOptions(tolerance=2).limits(FLOAT32)


# Masking


@FORMATS
def test_artifact_masks_the_slide_when_that_was_asked_for(
    small_run: SmallRun, tmp_path: Path, name: str
) -> None:
    exported = export(small_run, tmp_path, name, masking="slide")
    assert exported.path.stem == "small-float32-masking"
    assert "the slide around the cell is painted" in exported.card.read_text(encoding="utf-8")
    pixels = small_run.pixels[0]
    on_a_slide = np.where((pixels.max(axis=2) > 0)[..., None], pixels, 235).astype(np.uint8)
    with open_classifier(exported.path) as classifier:
        spec = classifier.manifest.preprocessing
        assert spec == dataclasses.replace(small_run.source.preprocessing, masking="slide")
        found = classifier.predict(on_a_slide)
        expected = classifier.probabilities(spec.apply(on_a_slide)[np.newaxis])[0]
        unmasked = classifier.probabilities(on_a_slide[np.newaxis])[0]
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert np.abs(expected - unmasked).max() > 1e-3
