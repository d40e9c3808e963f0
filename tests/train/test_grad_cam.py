"""Grad-CAM against its definition, and what a run keeps of it."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.report_page import make_run
from support.small_run import save

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import RunError, UsageError
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train import explaining
from edgecell_train.explaining import HEAT, explain, explained
from edgecell_train.grad_cam import grad_cam

SHAPE = (12, 12, 3)
PIXELS = np.random.default_rng(2).integers(0, 256, (3, *SHAPE), dtype=np.uint8)


def _net(outputs: int = 2, activation: str = "softmax", *, apart: bool = False) -> Any:
    """Two convolutions; ``apart`` gives the activation a layer of its own."""
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(6)
    last = [layers.Dense(outputs), layers.Activation(activation)]
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            *(last if apart else [layers.Dense(outputs, activation=activation)]),
        ]
    )


def _by_hand(model: Any, column: int, sign: float = 1.0) -> NDArray[np.float64]:
    """Behind a global average and one dense layer, a channel's gradient is its weight."""
    keras = import_keras()
    numpy = keras.ops.convert_to_numpy
    features = numpy(keras.Model(model.inputs[0], model.layers[3].output)(PIXELS))
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    weights = sign * dense.kernel.numpy()[:, column]
    heat = np.maximum((features * weights).sum(axis=-1), 0)
    largest = heat.max(axis=(1, 2), keepdims=True)
    return heat / np.where(largest > 0, largest, 1)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("label", [0, 1])
def test_map_is_that_of_the_definition(label: int, apart: bool) -> None:
    model = _net(apart=apart)
    heat = grad_cam(model, PIXELS, np.full(3, label), Head("softmax"))
    assert (heat.shape, heat.dtype) == ((3, 3, 3), np.float32)
    np.testing.assert_allclose(heat, _by_hand(model, label), atol=1e-5)


@pytest.mark.parametrize(("asked", "sign"), [(0, 1.0), (1, -1.0)])
def test_single_output_speaks_for_its_label_and_against_the_other(asked: int, sign: float) -> None:
    model = _net(1, "sigmoid")
    heat = grad_cam(model, PIXELS, np.full(3, asked), Head("sigmoid", "b"))
    np.testing.assert_allclose(heat, _by_hand(model, 0, sign), atol=1e-5)
    assert heat.max() in (0, 1)


def test_each_image_is_asked_about_its_own_label_in_any_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgecell_train.grad_cam._BATCH", 2)
    model = _net(3)
    heat = grad_cam(model, PIXELS, np.array([2, 0, 1]), Head("softmax"))
    expected = [_by_hand(model, label)[i] for i, label in enumerate((2, 0, 1))]
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_convolution_before_a_shortcut_is_taken_when_the_last_one_has_one_around_it() -> None:
    keras = import_keras()
    layers = keras.layers
    image = keras.Input(SHAPE)
    first = layers.Conv2D(4, 3, padding="same")(image)
    second = layers.Conv2D(4, 3, padding="same", strides=1)(layers.ReLU()(first))
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([first, second]))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(pooled))
    heat = grad_cam(model, PIXELS, np.zeros(3, np.int64), Head("softmax"))
    assert heat.shape == (3, 12, 12)
    assert heat.max() == 1


@pytest.mark.parametrize("functional", [False, True])
def test_map_is_the_same_when_the_model_was_saved_and_loaded(
    tmp_path: Path, functional: bool
) -> None:
    model = _net()
    expected = grad_cam(model, PIXELS, np.array([0, 1, 0]), Head("softmax"))
    keras = import_keras()
    save(keras.Model(model.inputs, model.outputs) if functional else model, tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    heat = grad_cam(loaded, PIXELS, np.array([0, 1, 0]), Head("softmax"))
    np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_model_without_a_convolution_is_refused() -> None:
    keras = import_keras()
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    with pytest.raises(UsageError, match="no convolution of images"):
        grad_cam(model, PIXELS, np.zeros(3, np.int64), Head("softmax"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_gives_the_map_of_tensorflow(tmp_path: Path) -> None:
    model = _net()
    save(model, tmp_path / "net.keras")
    np.save(tmp_path / "pixels.npy", PIXELS)
    code = (
        "import json, sys, keras, numpy as np\n"
        "from edgecell_runtime.heads import Head\n"
        "from edgecell_train.grad_cam import grad_cam\n"
        "assert keras.backend.backend() == 'jax'\n"
        "model = keras.saving.load_model('net.keras')\n"
        "heat = grad_cam(model, np.load('pixels.npy'), np.array([0, 1, 0]), Head('softmax'))\n"
        "print(json.dumps(heat.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = grad_cam(model, PIXELS, np.array([0, 1, 0]), Head("softmax"))
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-4)


def _explained_run(folder: Path, **options: Any) -> Any:
    run = make_run(folder, **options)
    record = dataclasses.replace(run.record, preprocessing=PreprocessSpec(*SHAPE[:2]))
    run = dataclasses.replace(run, record=record)
    with open_labelled(folder / "images") as images:
        assert explain(run, images, _net()) == ""
    return run


def test_run_of_a_model_without_a_convolution_keeps_nothing_and_says_why(tmp_path: Path) -> None:
    keras = import_keras()
    layers = keras.layers
    shape = (64, 64, 3)
    model = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    run = make_run(tmp_path)
    with open_labelled(tmp_path / "images") as images:
        assert "no convolution of images" in explain(run, images, model)
    assert explained(run) == []


def test_run_keeps_maps_of_right_and_of_wrong_images(tmp_path: Path) -> None:
    run = _explained_run(tmp_path, each=20, wrong=range(12))
    found = explained(run)
    numbers = [int(one.name.split()[-1].removesuffix(".png")) for one in found]
    assert len(found) == len({one.name for one in found}) == 16
    assert sum(number < 12 for number in numbers) == 8
    assert all(one.heat.shape == (3, 3) and one.heat.dtype == np.uint8 for one in found)


def test_run_keeps_the_same_maps_when_explained_again(tmp_path: Path) -> None:
    run = _explained_run(tmp_path, each=20)
    first = [(one.name, one.heat.tolist()) for one in explained(run)]
    _explained_run(tmp_path, each=20)
    assert [(one.name, one.heat.tolist()) for one in explained(run)] == first


def test_map_is_asked_for_the_label_that_the_model_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def remember(model: Any, pixels: Any, labels: NDArray[np.int64], head: Head) -> Any:
        asked.extend(labels.tolist())
        return np.zeros((len(labels), 2, 2), np.float32)

    monkeypatch.setattr(explaining, "grad_cam", remember)
    run = make_run(tmp_path, each=2, wrong=[0])  # image 0 of either class is taken for the other
    head = Head("sigmoid", "Uninfected")
    with open_labelled(tmp_path / "images") as images:
        for one in (
            run,
            dataclasses.replace(run, record=dataclasses.replace(run.record, head=head)),
        ):
            explain(one, images, object())
    said = [0 if ("Paras" in one.name) == ("1.png" in one.name) else 1 for one in explained(run)]
    assert asked == said + [1 - label for label in said]


def test_images_that_are_gone_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for path in (tmp_path / "images" / "Parasitized").iterdir():
        path.write_bytes(b"damaged")
    record = dataclasses.replace(run.record, preprocessing=PreprocessSpec(*SHAPE[:2]))
    with open_labelled(tmp_path / "images") as images:
        explain(dataclasses.replace(run, record=record), images, _net())
    assert {one.name.partition("/")[0] for one in explained(run)} == {"Uninfected"}


def test_run_without_maps_has_none_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert explained(run) == []
    (tmp_path / HEAT).write_bytes(b"damaged")
    with pytest.raises(RunError, match="cannot be read"):
        explained(run)
    np.savez(tmp_path / HEAT, names=np.array(["a"]), heat=np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(RunError, match="one map of uint8 a name"):
        explained(run)
