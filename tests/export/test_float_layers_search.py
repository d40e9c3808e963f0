"""Accuracy-aware export: the layers that 8 bits ruin stay in float, and no others."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.outlier_run import make_outlier_run
from support.small_run import SPEC, SmallRun

from edgecell_export.building import ArtifactBuilder
from edgecell_export.choices import Loss, Validation, write_validation
from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exported, Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.options import ExportOptions
from edgecell_export.pixels import PixelFile
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import open_classifier
from edgecell_export.search import Trial
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import ParityError, UsageError
from edgecell_runtime.manifest import FloatLayer

pytestmark = pytest.mark.slow

STATIC = RECIPES["static_int8"]
ALLOWED = ExportOptions(max_drop=0.3, calibration_images=100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return make_outlier_run(tmp_path_factory.mktemp("outlier"))


@pytest.fixture(scope="module")
def validation(run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Validation:
    pixels = PixelFile(tmp_path_factory.mktemp("validation") / "pixels", SPEC.shape)
    return write_validation(pixels, run.evidence, run.source)


@pytest.fixture(params=["tflite", "onnx"], scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def exported(
    run: SmallRun, name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp("exports")
    with Exporter(run.source, run.evidence, ALLOWED, runner=ConvertHere()) as exporter:
        yield exporter.export(CONVERTERS[name], STATIC, folder)


def points(path: Path, validation: Validation) -> float:
    with open_classifier(path, threads=1) as classifier:
        return validation.loss(validation.answers(classifier)).points


def test_integers_alone_ruin_the_net(
    run: SmallRun, name: str, validation: Validation, tmp_path: Path
) -> None:
    builder = ArtifactBuilder(run.source, run.evidence, ExportOptions(), ConvertHere(), tmp_path)
    path = tmp_path / f"plain{CONVERTERS[name].suffix}"
    builder.build(CONVERTERS[name], STATIC, path)
    assert points(path, validation) > 5


def test_export_keeps_within_the_allowed_drop_with_some_layers_in_float(
    run: SmallRun, exported: Exported, validation: Validation
) -> None:
    assert points(exported.path, validation) <= 0.3
    kept = [layer.name for layer in exported.manifest.float_layers]
    assert kept == ["hidden", "last"]  # what stands on either side of the loud unit
    assert {"first", "second"} < {layer.name for layer in run.source.model.layers}


def test_layers_in_float_are_told_with_their_reasons(exported: Exported) -> None:
    layers = read_artifact(exported.path).manifest.float_layers
    assert layers == exported.manifest.float_layers
    card = exported.card.read_text(encoding="utf-8")
    assert "## Layers left in float" in card
    for layer in layers:
        assert f"| {layer.name} | {layer.reason} |" in card
        assert "points are lost on" in layer.reason


def test_artifact_with_layers_in_float_is_smaller_than_one_all_in_float(
    run: SmallRun, exported: Exported, name: str, tmp_path: Path
) -> None:
    with Exporter(run.source, run.evidence, runner=ConvertHere()) as exporter:
        whole = exporter.export(CONVERTERS[name], RECIPES["float32"], tmp_path)
        found = CONVERTERS[name].operators(exported.path)
    assert whole.manifest.float_layers == ()
    assert exported.size_bytes < whole.size_bytes
    assert any("int8" in operator.dtypes for operator in found.operators)


def one_trial(names: list[str], trial: Trial, allowed: float) -> tuple[FloatLayer, ...]:
    trial(frozenset(names[:1]))
    return ()


def test_held_out_images_take_no_part_in_the_search(
    run: SmallRun, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is read before parity are training and validation images."""
    read: list[str] = []
    get = type(run.evidence.images).get

    def spy(images: object, image: str) -> object:
        read.append(image)
        return get(images, image)  # type: ignore[arg-type]

    def stop(*_: object) -> None:
        raise ParityError("parity begins")

    monkeypatch.setattr(type(run.evidence.images), "get", spy)
    monkeypatch.setattr("edgecell_export.exporting.measure_parity", stop)
    monkeypatch.setattr("edgecell_export.exporting.find_float_layers", one_trial)
    with (
        pytest.raises(ParityError, match="parity begins"),
        Exporter(run.source, run.evidence, ALLOWED, runner=ConvertHere()) as exporter,
    ):
        exporter.export(CONVERTERS[name], STATIC, tmp_path)
    held_out = {answer.image.name for answer in run.evidence.held_out}
    assert {image.name for image in run.evidence.validation} <= set(read)
    assert not held_out & set(read)


def test_export_is_refused_when_not_enough_may_be_lost(
    run: SmallRun, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all layers would have to stay in float, there is no artifact of integers."""
    loss = Validation.loss

    def ruined(self: Validation, found: NDArray[np.float64]) -> Loss:
        return dataclasses.replace(loss(self, found), points=50.0)

    monkeypatch.setattr(Validation, "loss", ruined)
    with (
        pytest.raises(ParityError, match=r"no layer that stays in float brings .* down to 0\.3"),
        Exporter(run.source, run.evidence, ALLOWED, runner=ConvertHere()) as exporter,
    ):
        exporter.export(CONVERTERS[name], STATIC, tmp_path)
    assert not list(tmp_path.iterdir())


def test_search_is_refused_for_floats(run: SmallRun, name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="--max-drop is for recipes of integers"),
        Exporter(run.source, run.evidence, ALLOWED, runner=ConvertHere()) as exporter,
    ):
        exporter.export(CONVERTERS[name], RECIPES["float32"], tmp_path / "made")
    assert not (tmp_path / "made").exists()
