import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.small_run import HEAD, LABELS, SPEC, SmallRun

from edgecell_export import exporting
from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exported, Exporter, converters_for
from edgecell_export.formats import CONVERTERS
from edgecell_export.known_images import CALIBRATION_COUNT
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import open_classifier
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import EngineError, UsageError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.manifest import Calibration, Golden
from edgecell_runtime.signature import dequantize

EVERY = [(name, recipe) for name, item in CONVERTERS.items() for recipe in item.recipes]
SAMPLED = [("tflite", "float32"), ("tflite", "static_int8"), ("onnx", "static_int8")]


@pytest.fixture(scope="module")
def exporter(small_run: SmallRun) -> Iterator[Exporter]:
    with Exporter(small_run.source, small_run.evidence, runner=ConvertHere()) as opened:
        yield opened


@pytest.fixture(scope="module")
def all_exported(
    exporter: Exporter, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Exported]:
    folder = tmp_path_factory.mktemp("exports") / "made"
    return {
        (name, recipe): exporter.export(CONVERTERS[name], RECIPES[recipe], folder)
        for name, recipe in EVERY
    }


@pytest.fixture(params=EVERY, ids="-".join)
def exported(
    all_exported: dict[tuple[str, str], Exported], request: pytest.FixtureRequest
) -> Exported:
    return all_exported[request.param]


@pytest.fixture
def classifier(exported: Exported) -> Iterator[Classifier]:
    with open_classifier(exported.path, threads=1) as opened:
        yield opened


def test_export_writes_the_artifact_and_its_card_and_nothing_else(
    all_exported: dict[tuple[str, str], Exported],
) -> None:
    folder = all_exported["onnx", "float32"].path.parent
    expected = {
        f"small-{recipe}{CONVERTERS[name].suffix}{card}"
        for name, recipe in EVERY
        for card in ("", ".md")
    }
    assert {path.name for path in folder.iterdir()} == expected


def test_artifact_is_accepted_and_carries_the_manifest(exported: Exported) -> None:
    artifact = read_artifact(exported.path)
    assert artifact.manifest == exported.manifest
    assert artifact.size_bytes == exported.size_bytes


def test_manifest_says_all_that_the_source_knew(exported: Exported, small_run: SmallRun) -> None:
    manifest, source = exported.manifest, small_run.source
    assert (manifest.labels, manifest.positive_label) == (LABELS, "Parasitized")
    assert (manifest.preprocessing, manifest.head) == (SPEC, HEAD)
    assert (manifest.source, manifest.evaluation) == (source.source, None)
    assert (manifest.temperature, manifest.threshold) == (1.0, 0.5)
    assert exported.path.name.endswith(f"-{manifest.recipe}{CONVERTERS[manifest.format].suffix}")


def test_manifest_holds_the_parity_that_was_measured(
    exported: Exported, small_run: SmallRun
) -> None:
    parity = exported.manifest.parity
    assert parity is not None
    assert parity.sample == len(small_run.evidence.held_out) >= 50
    assert parity.limits == RECIPES[exported.manifest.recipe].limits
    assert 0 < parity.mean_difference < parity.largest_difference
    assert not parity.loosened
    quantised = exported.manifest.signature.outputs[0].quantization is not None
    assert (parity.probability_step is not None) == quantised


def test_manifest_holds_the_calibration_of_integers_alone(
    exported: Exported, small_run: SmallRun
) -> None:
    if exported.manifest.recipe in ("float32", "float16"):
        assert exported.manifest.calibration is None
        return
    training = sorted(small_run.evidence.training, key=lambda image: image.name)
    order = np.random.default_rng(7).permutation(len(training))[:CALIBRATION_COUNT]
    hashes = "".join(training[i].sha256 for i in order)
    digest = hashlib.sha256(hashes.encode()).hexdigest()
    assert exported.manifest.calibration == Calibration(len(training), 7, digest)


def test_artifact_is_for_any_processor_unless_asked_otherwise(exported: Exported) -> None:
    assert exported.manifest.target == "any"
    assert "| made for | any processor |" in exported.card.read_text(encoding="utf-8")


def test_manifest_holds_the_answers_of_the_source_to_the_golden_inputs(
    exported: Exported, classifier: Classifier, small_run: SmallRun
) -> None:
    golden = exported.manifest.golden
    inputs = golden_inputs(FORMULA, SPEC.shape)
    answers = small_run.source.model.predict(inputs, verbose=0).astype(float)
    expected = answers / answers.sum(axis=1, keepdims=True)
    assert golden.formula == FORMULA
    assert np.abs(np.array(golden.probabilities) - expected).max() <= 0.5e-6  # six decimals
    if exported.manifest.recipe == "float32":
        assert np.abs(classifier.probabilities(inputs) - expected).max() < 1e-4


def test_manifest_holds_the_outputs_of_the_artifacts_own_engine(
    exported: Exported, classifier: Classifier
) -> None:
    golden, output = exported.manifest.golden, exported.manifest.signature.outputs[0]
    inputs = golden_inputs(FORMULA, SPEC.shape)
    found = np.concatenate([classifier.logits(image[np.newaxis]) for image in inputs])
    stored = np.array(golden.outputs)
    if output.quantization is None:
        assert (stored == stored.astype(np.float32)).all()
        assert (np.abs(found - stored) <= 1e-5).all()
        assert (golden.allowed_steps, golden.allowed_difference >= 1e-3) == (0, True)
    else:
        assert (found == dequantize(stored, output.quantization)).all()
        assert 1 <= golden.allowed_steps <= 10


def test_artifact_before_parity_holds_no_golden_answers(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, opened = exporting.open_classifier, list[Golden]()

    def open_and_look(path: Path) -> Classifier:
        opened.append(read_artifact(path).manifest.golden)
        return opens(path)

    monkeypatch.setattr(exporting, "open_classifier", open_and_look)
    exported = exporter.export(CONVERTERS["tflite"], RECIPES["static_int8"], tmp_path)
    assert opened == [Golden(), exported.manifest.golden]


def test_classifier_gives_the_stored_answers_from_the_image_files(
    exported: Exported, classifier: Classifier, small_run: SmallRun
) -> None:
    largest = exported.manifest.parity.largest_difference if exported.manifest.parity else 0.0
    for answer in small_run.evidence.held_out[::10]:
        prediction = classifier.predict(small_run.folder / answer.image.name)
        found = [prediction.probabilities[label] for label in LABELS]
        assert np.abs(np.subtract(found, answer.probabilities)).max() <= largest + 1e-6
        assert prediction.label == LABELS[int(np.argmax(answer.probabilities))]


def test_card_tells_people_what_the_manifest_says(exported: Exported) -> None:
    text = exported.card.read_text(encoding="utf-8")
    parity = exported.manifest.parity
    assert parity is not None
    assert text.startswith(f"# {exported.path.name}\n")
    assert "no medical device" in text
    assert "**drawn cells, not photographs of real ones**" in text
    assert f"| size | {exported.size_bytes:,} bytes, " in text
    assert f"| largest difference of a probability | {parity.largest_difference:.2g} |" in text
    assert ("| calibration images | " in text) == (exported.manifest.calibration is not None)
    assert "Parasitized at a probability of 0.5 or more" in text


def test_classifier_says_where_to_go_with_a_savedmodel(
    all_exported: dict[tuple[str, str], Exported],
) -> None:
    with pytest.raises(EngineError, match="A SavedModel needs TensorFlow: use `edgecell evaluate`"):
        Classifier.open(all_exported["savedmodel", "float32"].path)


@pytest.mark.parametrize(("name", "recipe"), SAMPLED)
def test_two_exports_of_one_run_give_the_same_bytes(
    all_exported: dict[tuple[str, str], Exported],
    small_run: SmallRun,
    tmp_path: Path,
    name: str,
    recipe: str,
) -> None:
    first = all_exported[name, recipe]
    with Exporter(small_run.source, small_run.evidence, runner=ConvertHere()) as exporter:
        second = exporter.export(CONVERTERS[name], RECIPES[recipe], tmp_path)
    assert second.path.read_bytes() == first.path.read_bytes()
    assert second.card.read_bytes() == first.card.read_bytes()


@pytest.mark.parametrize("name", CONVERTERS)
def test_second_export_replaces_the_first(small_run: SmallRun, tmp_path: Path, name: str) -> None:
    thresholds = []
    for threshold in (0.25, 0.75):
        source = dataclasses.replace(small_run.source, threshold=threshold)
        with Exporter(source, small_run.evidence, runner=ConvertHere()) as exporter:
            exported = exporter.export(CONVERTERS[name], RECIPES["float32"], tmp_path)
        thresholds.append(read_artifact(exported.path).manifest.threshold)
        assert f"at a probability of {threshold} or more" in exported.card.read_text("utf-8")
    assert thresholds == [0.25, 0.75]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "recipe"),
    [(name, recipe) for name, item in CONVERTERS.items() for recipe in item.lacking],
)
def test_export_is_refused_with_the_reason_when_the_format_lacks_the_recipe(
    exporter: Exporter, tmp_path: Path, name: str, recipe: str
) -> None:
    with pytest.raises(UsageError, match=f"{name} has no {recipe}: [a-zA-Z]"):
        exporter.export(CONVERTERS[name], RECIPES[recipe], tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_converters_for_names_one_or_all() -> None:
    assert converters_for("onnx") == [CONVERTERS["onnx"]]
    assert converters_for("all") == list(CONVERTERS.values())
    with pytest.raises(UsageError, match=r"no format 'h5'; expected one of savedmodel, tflite"):
        converters_for("h5")
