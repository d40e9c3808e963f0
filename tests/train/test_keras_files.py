"""``.keras`` files that could do more than describe a model are refused before Keras sees them."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.tiny_training import SPEC, build_tiny

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import RunError
from edgecell_train import keras_files, run_writing
from edgecell_train.keras_files import load_keras_file
from edgecell_train.presets import PRESETS

CONFIGURATION, WEIGHTS = keras_files.CONFIGURATION, keras_files.WEIGHTS
Members = dict[str, bytes]
save = run_writing.save_model


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Members:
    path = tmp_path_factory.mktemp("fair") / "tiny.keras"
    save(build_tiny(SPEC.shape, 2), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RunError, match=r"cannot be loaded: .*`edgecell train`") as caught:
        load_keras_file(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_fair_file_is_loaded(fair: Members, tmp_path: Path) -> None:
    """What the cases below vary."""
    assert load_keras_file(write(tmp_path / "x.keras", fair)).count_params() > 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_presets_model_is_loaded(name: str, tmp_path: Path) -> None:
    preset = PRESETS[name]
    sides = (8, 8, 8) if preset.preprocessing.depth else (28, 28)
    model = preset.build((*sides, preset.preprocessing.channels), 2)
    save(model, tmp_path / "x.keras")
    assert load_keras_file(tmp_path / "x.keras").count_params() == model.count_params()


def test_model_is_loaded_when_it_was_trained_with_a_loss_of_its_authors_own(
    tmp_path: Path,
) -> None:
    keras = import_keras()

    def focal_loss(truth: Any, found: Any) -> Any:
        return -truth * keras.ops.log(found) * (1 - found) ** 2

    model = build_tiny(SPEC.shape, 2)
    model.compile("adam", focal_loss)
    pixels = np.zeros((2, *SPEC.shape), np.float32)
    model.fit(pixels, np.eye(2), verbose=0)
    save(model, tmp_path / "own.keras")
    loaded = load_keras_file(tmp_path / "own.keras")
    for expected, found in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_lambda_is_refused_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keras, written = import_keras(), tmp_path / "written"
    layer = keras.layers.Lambda(lambda x: (open("written", "w").close(), x)[1])  # noqa: PTH123
    save(keras.Sequential([keras.Input((4,)), layer]), tmp_path / "x.keras")
    written.unlink()
    assert "it has a Lambda, which could run code" in refusal(tmp_path / "x.keras")
    assert not written.exists()
    keras.saving.load_model(tmp_path / "x.keras", safe_mode=False)
    assert written.exists()  # so the refusal above is what kept it away


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "..\\x", "assets/../../x", "model.weights.npz", "assets/v.txt"]
)
def test_unknown_and_climbing_names_are_refused(fair: Members, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.parent.iterdir())
    said = refusal(write(tmp_path / "x.keras", {**fair, name: b"x"}))
    assert f"it holds {name!a}, expected config.json" in said
    assert set(tmp_path.parent.iterdir()) == before


def test_weights_of_numpy_which_could_be_pickles_are_refused(fair: Members, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([print], dtype=object))
    members = {**fair, "model.weights.npz": buffer.getvalue()}
    del members[WEIGHTS]
    assert "it holds 'model.weights.npz'" in refusal(write(tmp_path / "x.keras", members))


def test_compressed_file_is_refused(fair: Members, tmp_path: Path) -> None:
    bomb = {**fair, CONFIGURATION: b" " * 10_000_000 + fair[CONFIGURATION]}
    path = write(tmp_path / "x.keras", bomb, zipfile.ZIP_DEFLATED)
    assert "is compressed, which Keras never does" in refusal(path)
    assert "config.json in it is above" in refusal(write(tmp_path / "y.keras", bomb))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_appears_twice_is_refused(fair: Members, tmp_path: Path) -> None:
    path = write(tmp_path / "x.keras", fair)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CONFIGURATION, fair[CONFIGURATION])
    assert "it holds 4 files" in refusal(path)


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("os", "system", "a class of the module 'os'"),
        ("builtins", "eval", "a class of the module 'builtins'"),
        ("keras.utils", "get_file", "a class of the module 'keras.utils'"),
        ("keras.layers", "TorchModuleWrapper", "it has a TorchModuleWrapper"),
        ("keras.layers", "TFSMLayer", "it has a TFSMLayer"),
        ("keras.layers", "StringLookup", "it has a StringLookup"),
        ("builtins", "function", "it has a function"),
        (None, "__lambda__", "it has a __lambda__"),
        (7, "Dense", "a class of the module '7'"),
    ],
)
def test_class_is_refused_when_it_is_not_one_that_only_computes(
    fair: Members, tmp_path: Path, module: object, name: str, said: str
) -> None:
    document = json.loads(fair[CONFIGURATION])
    layer = document["config"]["layers"][1]["config"]
    layer["activation"] = {"module": module, "class_name": name, "config": {}}
    members = {**fair, CONFIGURATION: json.dumps(document).encode()}
    assert said in refusal(write(tmp_path / "x.keras", members))


def _link(file: h5py.File) -> None:
    file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file: h5py.File) -> None:
    file["loop"] = h5py.SoftLink("/")


def _external(file: h5py.File) -> None:
    file.create_dataset("stolen", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
    file.create_virtual_dataset("stolen", layout)


def _compressed(file: h5py.File) -> None:
    file.create_dataset("bomb", (1 << 40,), "u1", chunks=(1 << 16,), compression="gzip")


def _claim(file: h5py.File) -> None:
    file.create_dataset("bomb", (1 << 40,), "u1")


def _objects(file: h5py.File) -> None:
    file.create_dataset("text", data=["x"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_link, "its weights hold a link, 'stolen'"),
        (_soft_link, "its weights hold a link, 'loop'"),
        (_external, "its weights 'stolen' lie elsewhere"),
        (_virtual, "its weights 'stolen' lie elsewhere"),
        (_compressed, "its weights 'bomb' lie elsewhere or are compressed"),
        (_claim, "its weights claim to be larger than the file"),
        (_objects, "its weights 'text' lie elsewhere"),
    ],
)
def test_weights_are_refused_when_they_are_more_than_numbers(
    fair: Members, tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    buffer = io.BytesIO(fair[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    members = {**fair, WEIGHTS: buffer.getvalue()}
    assert said in refusal(write(tmp_path / "x.keras", members))


def test_old_h5_file_under_the_name_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.keras", "w") as file:
        file.attrs["model_config"] = "{}"
    refusal(tmp_path / "x.keras")


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_malformed_configuration_is_refused(fair: Members, tmp_path: Path, text: bytes) -> None:
    refusal(write(tmp_path / "x.keras", {**fair, CONFIGURATION: text}))


def test_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path)
    refusal(tmp_path / "nothing.keras")
