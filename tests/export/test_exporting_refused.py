"""Each way to get a wrong export closes the door, and leaves what was there as it was."""

import dataclasses
import errno
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image
from support.refusals import refused
from support.small_run import SmallRun

from edgecell_export import building
from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.prepare import Graph, prepare
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import Conv2D, Dense, Node
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Answer
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import (
    DataError,
    ExportError,
    ParityError,
    PreparationError,
    StorageError,
)
from edgecell_runtime.preprocess import PreprocessSpec

Export = Callable[..., None]


@pytest.fixture(params=["savedmodel", "tflite", "onnx"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def chain_patch(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Chain], tuple[Node, ...]]
) -> None:
    """Lets the prepared graph be another one than the model's."""

    def changed(*arguments: Any) -> Graph:
        graph = prepare(*arguments)
        return graph.with_last(graph.last.with_nodes(*change(graph.last)))

    monkeypatch.setattr(building, "prepare", changed)


def test_export_is_refused_when_stored_answers_have_their_labels_swapped(
    small_run: SmallRun, folder: Path, name: str
) -> None:
    swapped = [
        Answer(answer.image, tuple(reversed(answer.probabilities)))
        for answer in small_run.evidence.held_out
    ]
    evidence = dataclasses.replace(small_run.evidence, held_out=swapped)
    error = refused(small_run.source, evidence, folder, name=name)
    assert isinstance(error, ParityError)
    assert "labels changed 100.00%" in str(error)


@pytest.mark.parametrize("recipe", ["float32", "static_int8"])
def test_export_is_refused_when_pixels_are_scaled_twice(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    def scaled(chain: Chain) -> tuple[Node, ...]:
        first = chain.nodes[0]
        assert isinstance(first, Conv2D)
        return (dataclasses.replace(first, kernel=first.kernel / 255), *chain.nodes[1:])

    chain_patch(monkeypatch, scaled)
    error = refused(small_run.source, small_run.evidence, folder, recipe=recipe)
    assert isinstance(error, ParityError)


def bgr(spec: PreprocessSpec, image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image)[..., ::-1]).resize((spec.width, spec.height), 2)


def nearest(spec: PreprocessSpec, image: Image.Image) -> Image.Image:
    return image.resize((spec.width, spec.height), Image.Resampling.NEAREST)


def bicubic(spec: PreprocessSpec, image: Image.Image) -> Image.Image:
    return image.resize((spec.width, spec.height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("otherwise", [bgr, nearest, bicubic])
def test_export_is_refused_when_the_device_reads_images_otherwise(
    small_run: SmallRun,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    otherwise: Callable[[PreprocessSpec, Image.Image], Image.Image],
) -> None:
    def apply(spec: PreprocessSpec, source: bytes) -> Any:
        return np.asarray(otherwise(spec, Image.open(io.BytesIO(source))))

    monkeypatch.setattr(PreprocessSpec, "apply", apply)
    error = refused(small_run.source, small_run.evidence, folder, name=name)
    assert isinstance(error, ParityError)


@pytest.mark.parametrize("recipe", RECIPES)
def test_export_is_refused_when_the_output_is_constant(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    def constant(chain: Chain) -> tuple[Node, ...]:
        last = chain.nodes[-1]
        assert isinstance(last, Dense)
        kernel = np.full_like(last.kernel, 1e-9)
        return (*chain.nodes[:-1], dataclasses.replace(last, kernel=kernel))

    chain_patch(monkeypatch, constant)
    error = refused(small_run.source, small_run.evidence, folder, recipe=recipe)
    assert isinstance(error, ExportError)


def test_export_is_refused_when_weights_are_not_numbers(small_run: SmallRun, folder: Path) -> None:
    model = import_keras().models.load_model(small_run.model_file)
    bias = model.get_layer("hidden").bias
    bias.assign(np.full(bias.shape, np.nan))
    source = dataclasses.replace(small_run.source, model=model)
    error = refused(source, small_run.evidence, folder)
    assert isinstance(error, PreparationError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "was changed since the run was made"),
        ({"name": "Parasitized/gone.png"}, r"has no image Parasitized/gone\.png"),
    ],
)
@pytest.mark.parametrize("part", ["training", "held_out"])
def test_export_is_refused_when_an_image_is_not_the_one_of_the_run(
    small_run: SmallRun, folder: Path, part: str, change: dict[str, str], message: str
) -> None:
    training, held_out = list(small_run.evidence.training), list(small_run.evidence.held_out)
    if part == "training":
        training[11] = dataclasses.replace(training[11], **change)
    else:
        image = dataclasses.replace(held_out[11].image, **change)
        held_out[11] = dataclasses.replace(held_out[11], image=image)
    evidence = dataclasses.replace(small_run.evidence, training=training, held_out=held_out)
    error = refused(small_run.source, evidence, folder, recipe="static_int8")
    assert isinstance(error, DataError)
    assert re.search(message, str(error))


def test_export_is_refused_when_too_few_images_are_held_out(
    small_run: SmallRun, folder: Path
) -> None:
    evidence = dataclasses.replace(small_run.evidence, held_out=small_run.evidence.held_out[:49])
    error = refused(small_run.source, evidence, folder)
    assert "held out 49 images" in str(error)


@pytest.mark.parametrize(
    ("classes", "count", "message"),
    [
        (
            {"Parasitized", "Uninfected"},
            99,
            "the run has 99 for training, 512 were asked for); integers need at least 100",
        ),
        ({"Parasitized"}, 200, "None of the 120 calibration images is Uninfected"),
    ],
)
def test_static_int8_is_refused_when_calibration_images_are_lacking(
    small_run: SmallRun, folder: Path, classes: set[str], count: int, message: str
) -> None:
    known = [image for image in small_run.evidence.training if image.label in classes]
    training = (known * 2)[:count]
    evidence = dataclasses.replace(small_run.evidence, training=training)
    error = refused(small_run.source, evidence, folder, recipe="static_int8")
    assert isinstance(error, ExportError)
    assert message in str(error)


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def raise_it(*_: Any, **__: Any) -> NoReturn:
        raise error

    return raise_it


def test_export_leaves_nothing_when_it_is_interrupted(
    small_run: SmallRun,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgecell_export.formats.tflite._convert", raising(KeyboardInterrupt()))
    with (
        pytest.raises(KeyboardInterrupt),
        Exporter(small_run.source, small_run.evidence, runner=ConvertHere()) as exporter,
    ):
        exporter.export(CONVERTERS["tflite"], RECIPES["float32"], folder)
    print("to the user again")
    assert "to the user again" in capfd.readouterr().out


@pytest.mark.parametrize("written", ["model", "artifact", "card"])
def test_export_leaves_nothing_when_the_disk_is_full(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    full = raising(OSError(errno.ENOSPC, "No space left on device"))
    writes = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        is_model = path.name == "model.tflite"
        return int(full() if is_model == (written == "model") else writes(path, data))

    monkeypatch.setattr(Path, "write_text" if written == "card" else "write_bytes",
                        full if written == "card" else write_bytes)  # fmt: skip
    error = refused(small_run.source, small_run.evidence, folder)
    assert isinstance(error, StorageError)
    assert "No space left on device" in str(error)
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_static_int8_is_exported_when_batchnorm_is_folded_and_refused_when_it_is_not(
    small_run: SmallRun, folder: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    model = import_keras().models.load_model(small_run.model_file)
    norm, behind = model.get_layer("norm"), model.get_layer("second")
    # The same function, with channels that BatchNormalization spreads over two decades.
    spread = np.logspace(-1, 1, 8).astype(np.float32)
    norm.gamma.assign(norm.gamma * spread)
    norm.beta.assign(norm.beta * spread)
    behind.kernel.assign(behind.kernel / spread[:, None])
    source = dataclasses.replace(small_run.source, model=model)

    made = tmp_path_factory.mktemp("folded")
    with Exporter(source, small_run.evidence, runner=ConvertHere()) as exporter:
        assert exporter.export(CONVERTERS[name], RECIPES["static_int8"], made).path.exists()

    monkeypatch.setattr(FoldBatchNorm, "rewrite", lambda self, chain: chain)
    monkeypatch.setattr(FoldBatchNorm, "ensures", lambda self, chain: None)
    error = refused(source, small_run.evidence, folder, name=name, recipe="static_int8")
    assert isinstance(error, ParityError)
    assert "of the labels change (at most 1.00%)" in str(error)
