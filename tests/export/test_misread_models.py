"""Models that would be read wrongly, or do not fit, are refused before anything is converted."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_run import SmallRun

from edgecell_export import building
from edgecell_export.building import ArtifactBuilder
from edgecell_export.conversion_process import ConvertHere
from edgecell_export.options import ExportOptions
from edgecell_export.prepare.graph import Graph
from edgecell_export.source import SourceModel
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError
from edgecell_runtime.preprocess import PreprocessSpec


def build(run: SmallRun, source: SourceModel, folder: Path) -> ArtifactBuilder:
    return ArtifactBuilder(source, run.evidence, ExportOptions(), ConvertHere(), folder)


def test_model_is_refused_when_a_layer_was_read_wrongly(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = building.read_graph

    def misread(model: Any) -> Graph:
        graph = read(model)
        last = graph.last
        wrong = dataclasses.replace(last.nodes[-2], bias=np.array([2.0, -2.0]))
        return graph.with_last(last.with_nodes(*last.nodes[:-2], wrong, last.nodes[-1]))

    monkeypatch.setattr(building, "read_graph", misread)
    with pytest.raises(PreparationError, match="away from those of its layers, computed one by"):
        build(small_run, small_run.source, tmp_path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_model_is_refused_when_keras_quantised_a_layer(small_run: SmallRun, tmp_path: Path) -> None:
    model = import_keras().models.load_model(small_run.model_file)
    model.get_layer("hidden").quantize("int8")
    source = dataclasses.replace(small_run.source, model=model)
    with pytest.raises(PreparationError, match=r"hidden was quantised by Keras \(int8\); exp"):
        build(small_run, source, tmp_path)


def test_model_is_refused_when_its_images_have_another_size(
    small_run: SmallRun, tmp_path: Path
) -> None:
    source = dataclasses.replace(small_run.source, preprocessing=PreprocessSpec(24, 24))
    with pytest.raises(PreparationError, match=r"takes images of \(16, 16, 3\); its preproc"):
        build(small_run, source, tmp_path)


def test_model_is_refused_when_it_has_another_number_of_outputs(
    small_run: SmallRun, tmp_path: Path
) -> None:
    source = dataclasses.replace(small_run.source, labels=("a", "b", "c"), positive_label=None)
    with pytest.raises(PreparationError, match="3 labels need 3 values an image"):
        build(small_run, source, tmp_path)


def test_model_is_refused_when_keras_cannot_run_it(small_run: SmallRun, tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(small_run.source.model, name)

        def predict(self, *arguments: Any, **options: Any) -> Any:
            raise RuntimeError("no such kernel\nand a long story")

    source = dataclasses.replace(small_run.source, model=Broken())
    with pytest.raises(PreparationError, match="cannot compute its own answers: no such kernel E"):
        build(small_run, source, tmp_path)


@pytest.mark.parametrize("name", ["image", "join_1", "conv2d_0_1", "activation_0_2", "logits"])
def test_layer_may_have_any_name(name: str) -> None:
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Conv2D(4, 3, activation="relu", name=name),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    from edgecell_export.keras_build import build_model
    from edgecell_export.keras_graph import read_graph

    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    built = build_model(read_graph(model), input_dtype="uint8", batch=None)
    assert np.allclose(built(pixels), model(pixels.astype(np.float32)), atol=1e-6)
