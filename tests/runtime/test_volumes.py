"""Volumes from the file on: what is read, what is refused, and what a classifier makes of them."""

import dataclasses
import hashlib
import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from support.artifacts import LABELS, tiny_manifest
from support.pictures import encoded, gradient

from edgecell_runtime import Classifier
from edgecell_runtime.containers import container_of
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError, ImageError, ManifestError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.heads import Head
from edgecell_runtime.images import MAX_FILE_BYTES
from edgecell_runtime.inference import Inference
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.manifest import Golden, Manifest
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.signature import Signature, TensorSpec

SPEC = PreprocessSpec(5, 6, depth=4)
VOLUME = np.random.default_rng(0).integers(0, 256, SPEC.shape, np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(VOLUME.size, 2)).astype(np.float32) / 2048


def saved(array: NDArray[Any], *, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """A ``.npy`` file of version 1.0 with any header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def described(shape: str, dtype: str = "'|u1'", order: str = "False") -> bytes:
    return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


# What is read


def test_spec_of_volumes_has_a_shape_of_four() -> None:
    assert SPEC.shape == (4, 5, 6, 3)
    assert PreprocessSpec(5, 6, "L", depth=4).shape == (4, 5, 6, 1)
    assert PreprocessSpec(5, 6).shape == (5, 6, 3)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file", "array", "view", "memmap"])
def test_volume_is_read_from_every_source(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "volume.npy"
    path.write_bytes(saved(VOLUME))
    sources: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "array": VOLUME,
        "view": np.repeat(VOLUME, 2, axis=2)[:, :, ::2],
        "memmap": np.load(path, mmap_mode="r"),
    }
    found = SPEC.apply(sources[kind])
    assert (found.dtype, found.shape, type(found)) == (np.uint8, SPEC.shape, np.ndarray)
    np.testing.assert_array_equal(found, VOLUME)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_volume_is_read_in_both_orders_of_its_axes(version: tuple[int, int]) -> None:
    data = saved(np.asfortranarray(VOLUME), version=version)
    assert b"'fortran_order': True" in data
    found = SPEC.apply(data)
    np.testing.assert_array_equal(found, VOLUME)
    assert found.flags.c_contiguous


def test_array_of_the_right_shape_is_given_back_as_it_is() -> None:
    assert SPEC.apply(VOLUME) is VOLUME


@pytest.mark.parametrize("packed", [False, True])
def test_set_of_volumes_is_found_in_class_folders_and_in_a_zip(
    tmp_path: Path, packed: bool
) -> None:
    for name in ("Parasitized/C1P1ThinF_IMG_1.npy", "Uninfected/C2ThinF_IMG_1.NPY"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(saved(VOLUME))
    place = tmp_path / "set"
    if packed:
        place = tmp_path / "set.zip"
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((tmp_path / "set").rglob("*.*")):
                archive.write(path, path.relative_to(tmp_path / "set"))
    with open_labelled(place) as images:
        assert [(image.label, image.patient) for image in images] == [
            ("Parasitized", "P1"),
            ("Uninfected", "C2"),
        ]
        for image in images:
            np.testing.assert_array_equal(SPEC.apply(images.read(image)), VOLUME)


def test_arrays_beside_images_are_ignored_with_a_note(tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / label).mkdir()
        (tmp_path / label / "cell.png").write_bytes(encoded(gradient(), "PNG"))
        (tmp_path / label / "features.npy").write_bytes(saved(VOLUME))
    with open_labelled(tmp_path) as images:
        assert [image.name for image in images] == [f"{label}/cell.png" for label in LABELS]
        assert any("Ignored 2 files that are not images" in note for note in images.notes)


# What is refused

REFUSED: dict[str, tuple[Any, str]] = {
    "another shape": (saved(VOLUME[:3]), r"has the shape \(3, 5, 6, 3\); expected \(4, 5, 6, 3\)"),
    "no channels": (saved(VOLUME[..., 0]), r"has the shape \(4, 5, 6\).*resample it"),
    "another type": (saved(VOLUME.astype(np.float32)), "is of dtype float32; expected uint8"),
    "signed": (saved(VOLUME.view(np.int8)), "is of dtype int8; expected uint8"),
    "pickled": (
        with_header(described("(4, 5, 6, 3)", "'|O'"), b"cos\nsystem\n(S'true'\ntR."),
        "is of dtype object",
    ),
    "fields": (with_header(described("(4, 5, 6, 3)", "[('a', '|u1')]"), b"0" * 360), "dtype"),
    "huge": (with_header(described(f"({10**12}, 5, 6, 3)")), r"has the shape \(10{12}, 5, 6, 3\)"),
    "endless": (with_header(described(f"({10**400},)")), "of 1 dimensions; expected"),
    "negative": (with_header(described("(-4, 5, 6, 3)")), r"has the shape \(-4"),
    "many dimensions": (with_header(described(f"({'1, ' * 100})")), "of 100 dimensions"),
    "half": (saved(VOLUME)[:-1], "has 359 bytes of voxels; expected 360"),
    "more": (saved(VOLUME) + b"\0", "has 361 bytes of voxels; expected 360"),
    "cut header": (saved(VOLUME)[:40], "is not a .npy file that can be read"),
    "no header": (b"\x93NUMPY", "is not a .npy file that can be read"),
    "version 3": (saved(VOLUME, version=(3, 0)), "is not a .npy file that can be read"),
    "code": (with_header(b"__import__('os').abort()\n"), "is not a .npy file that can be read"),
    "deep": (with_header(b"(" * 500 + b"\n"), "is not a .npy file that can be read"),
    "minus": (with_header(b"-" * 500 + b"1\n"), "is not a .npy file that can be read"),
    "long header": (
        with_header(described("(4, 5, 6, 3)")[:-1] + b" " * 9000 + b"\n", VOLUME.tobytes()),
        "is not a .npy file that can be read",
    ),
    "a picture": (encoded(gradient(), "PNG"), "is not a .npy file that can be read"),
    "an archive of arrays": (b"PK\x03\x04" + b"\0" * 60, "is not a .npy file that can be read"),
    "empty": (b"", "is empty"),
    "no source": (17, "A volume cannot be read from int"),
    "Pillow's": (Image.new("RGB", (6, 5)), "A volume cannot be read from Image"),
    "array of another shape": (VOLUME[:, :4], r"has the shape \(4, 4, 6, 3\)"),
    "array of another type": (VOLUME.astype(np.int16), "dtype int16"),
    "masked": (np.ma.masked_array(VOLUME), "masked"),
    "nowhere": ("nowhere.npy", "There is no file nowhere.npy"),
}


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_volume_is_refused_in_one_sentence(name: str) -> None:
    source, message = REFUSED[name]
    with pytest.raises(ImageError, match=message) as caught:
        SPEC.apply(source)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_file_cut_short_or_changed_anywhere_gives_a_volume_or_one_sentence() -> None:
    good, rng = saved(VOLUME), np.random.default_rng(5)
    files = [good[:end] for end in range(140)]
    for _ in range(400):
        changed = bytearray(good)
        for place in rng.integers(0, 128, rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        files.append(bytes(changed))
    refused = [reason for reason in map(_reason, files) if reason]
    assert 300 < len(refused) < len(files)
    assert all(len(reason) < 300 for reason in refused)


def _reason(data: bytes) -> str:
    """Why a file is refused; empty where it is a volume."""
    try:
        return "" if SPEC.apply(data).shape == SPEC.shape else "another shape " * 50
    except ImageError as error:
        return str(error)


def test_nothing_is_allocated_for_a_header_that_asks_for_much() -> None:
    data = with_header(described(f"({1 << 40}, 5, 6, 3)"))
    tracemalloc.start()
    with pytest.raises(ImageError):
        SPEC.apply(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_file_is_refused_unread_when_it_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        os.truncate(file.fileno(), MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match="are read up to"):
        SPEC.apply(path)


@pytest.mark.parametrize("depth", [0, 4097])
def test_spec_is_refused_when_its_depth_is_out_of_range(depth: int) -> None:
    with pytest.raises(ValueError, match="the depth"):
        PreprocessSpec(8, 8, depth=depth)


def test_spec_is_refused_when_its_volume_is_too_large() -> None:
    with pytest.raises(ValueError, match="more than 16,777,216 voxels"):
        PreprocessSpec(4096, 4096, depth=2)


def test_image_model_refuses_a_volume_and_its_file() -> None:
    for source in (VOLUME, saved(VOLUME)):
        with pytest.raises(ImageError, match="expected"):
            PreprocessSpec(5, 6).apply(source)


# Golden vectors and the manifest


@pytest.mark.parametrize(
    ("formula", "sha256"),
    [
        ("cells-1", "eef0df8399f048fe6d62b466d34438667a339e1c1170df331dfa3204ad8cce11"),
        ("ramps-1", "d10f70382eff676dc8faeeb556ed1580711f8a010b990e9ed73dfaac448e9f76"),
    ],
)
def test_formula_gives_the_same_volumes_everywhere(formula: str, sha256: str) -> None:
    inputs = golden_inputs(formula, (9, 20, 17, 3))
    assert (inputs.shape[1:], inputs.dtype) == ((9, 20, 17, 3), np.uint8)
    assert hashlib.sha256(inputs.tobytes()).hexdigest() == sha256


@pytest.mark.parametrize("formula", ["cells-1", "ramps-1"])
def test_slices_of_a_golden_volume_differ(formula: str) -> None:
    for volume in golden_inputs(formula, (16, 32, 32, 3)):
        assert len({slice_.tobytes() for slice_ in volume[2:-2]}) == 12


@pytest.mark.parametrize("formula", ["cells-1", "ramps-1"])
def test_volume_of_one_slice_is_the_image(formula: str) -> None:
    images = golden_inputs(formula, (20, 17, 3))
    np.testing.assert_array_equal(golden_inputs(formula, (1, 20, 17, 3))[:, 0], images)


def volume_manifest() -> Manifest:
    shape, rows = SPEC.shape, golden_inputs(FORMULA, SPEC.shape).reshape(8, -1)
    logits = rows.astype(np.float64) @ WEIGHTS
    probabilities = Head("softmax").probabilities(logits, LABELS)
    return dataclasses.replace(
        tiny_manifest("onnx"),
        preprocessing=SPEC,
        signature=Signature(
            (TensorSpec("pixels", "uint8", (None, *shape), "NDHWC"),),
            (TensorSpec("logits", "float32", (None, 2), "NC"),),
        ),
        golden=Golden(
            FORMULA,
            tuple(map(tuple, probabilities.tolist())),
            tuple(map(tuple, logits.tolist())),
        ),
    )


def test_manifest_keeps_the_depth_of_volumes_and_has_none_for_images() -> None:
    manifest = volume_manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert b'"depth":4' in manifest.to_json()
    assert b"depth" not in tiny_manifest().to_json()  # an older edgecell reads it


def test_manifest_is_refused_when_its_depth_makes_a_huge_volume() -> None:
    text = (
        volume_manifest().to_json().replace(b'"height":5,"width":6', b'"height":4096,"width":4096')
    )
    with pytest.raises(ManifestError, match="voxels"):
        Manifest.from_json(text)


# The classifier


def write_artifact(path: Path, manifest: Manifest) -> Path:
    """``uint8 (n, 4, 5, 6, 3) -> cast -> flatten -> matrix product -> float32 (n, 2)``, sealed."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["real"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "volumes",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", *SPEC.shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    opset = helper.make_opsetid("", 17)
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    path.write_bytes(container_of("onnx").seal(model.SerializeToString(), manifest))
    return path


def test_classifier_proves_itself_on_volumes_and_predicts_from_the_file(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "volumes.onnx", volume_manifest())
    path = tmp_path / "volume.npy"
    path.write_bytes(saved(VOLUME))
    logits = VOLUME.reshape(1, -1).astype(np.float64) @ WEIGHTS
    expected = Head("softmax").probabilities(logits, LABELS)[0]
    with Classifier.open(artifact) as classifier:
        assert classifier.engine_report[-1].reason.startswith("proved")
        answers = [classifier.predict(source) for source in (path, path.read_bytes(), VOLUME)]
        answers += classifier.predict_many([path, VOLUME])
        answers += classifier.predict_many(np.stack([VOLUME, VOLUME]))
        with pytest.raises(ImageError, match="takes several images and was given one"):
            next(classifier.predict_many(VOLUME))
    assert len(answers) == 7
    for answer in answers:
        np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-6)


def test_classifier_is_refused_when_the_golden_answers_of_volumes_are_others(
    tmp_path: Path,
) -> None:
    manifest = volume_manifest()
    outputs = tuple((first + 0.1, second) for first, second in manifest.golden.outputs)
    golden = dataclasses.replace(manifest.golden, outputs=outputs)
    path = write_artifact(tmp_path / "o.onnx", dataclasses.replace(manifest, golden=golden))
    with pytest.raises(EngineError, match="does not give the artifact's golden answers"):
        Classifier.open(path)


def test_large_volumes_are_run_few_at_once() -> None:
    spec = PreprocessSpec(1024, 1024, "L", depth=2)
    signature = Signature(
        (TensorSpec("pixels", "uint8", (None, *spec.shape), "NDHWC"),),
        (TensorSpec("logits", "float32", (None, 2), "NC"),),
    )
    batches: list[int] = []

    def answer(volumes: NDArray[np.generic]) -> NDArray[np.generic]:
        batches.append(len(volumes))
        first = volumes[:, 0, 0, 0, 0].astype(np.float32)
        return np.stack([first, -first], axis=1)

    manifest = dataclasses.replace(tiny_manifest("onnx"), preprocessing=spec, signature=signature)
    volumes = np.zeros((5, *spec.shape), np.uint8)
    volumes[:, 0, 0, 0, 0] = range(5)
    found = Inference(FakeSession(signature, answer), manifest).outputs(volumes)
    assert batches == [2, 2, 1]
    np.testing.assert_array_equal(found[:, 0], range(5))
