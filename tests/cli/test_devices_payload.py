"""What travels to a device."""

import io
import json
import tarfile
import tomllib
from pathlib import Path

import pytest
from support.bench_job import write_job

import edgecell_runtime
from edgecell.devices import payload
from edgecell.devices.payload import Entry
from edgecell.devices.ssh_calls import read_result
from edgecell_runtime.errors import ManifestError, StorageError, UsageError

ROOT = Path(__file__).parents[2]


def test_requirements_are_the_ones_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert list(payload.BASE_REQUIREMENTS) == project["dependencies"]
    names = {"litert": "tflite", "onnxruntime": "onnx", "openvino": "openvino"}
    wanted = {engine: extras[extra][0] for engine, extra in names.items()}
    assert wanted == payload.ENGINE_REQUIREMENTS


def test_engines_have_requirements() -> None:
    from edgecell_runtime.engines import ENGINES

    assert set(ENGINES) <= set(payload.ENGINE_REQUIREMENTS)


def unpacked(entries: tuple[Entry, ...]) -> dict[str, bytes]:
    stream = io.BytesIO()
    payload.write_archive(entries, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_job_travels_with_its_artifacts(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    files = unpacked(payload.portable(job).files)
    document = json.loads(files["job/job.json"])
    paths = [target["artifact"] for target in document["targets"]]
    assert paths == ["artifacts/0/net.tflite", "artifacts/1/net.tflite"]
    assert files["job/artifacts/0/net.tflite"] == b"net" * 1000
    assert "job/inputs/orders.json" in files
    assert str(tmp_path) not in str(sorted(files)) + files["job/job.json"].decode()


def test_artifact_with_an_escape_in_its_name_is_found_again(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    document = json.loads((job / "job.json").read_text(encoding="utf-8"))
    name = str((job / "net.tflite").rename(job / "n\x1bet.tflite"))
    document["targets"] = [{**document["targets"][0], "artifact": name}]
    (job / "job.json").write_text(json.dumps(document), encoding="utf-8")
    travelling = payload.portable(job)
    orders = json.loads((job / "inputs" / "orders.json").read_text(encoding="utf-8"))
    target = {"artifact": "/data/job/artifacts/0/n\\x1bet.tflite", "threads": 1}
    result = {**orders["result"], "skipped": [{"target": target, "reason": "none"}]}
    found = travelling.at_home(read_result(json.dumps(result).encode(), "pi"))
    assert found.skipped[0].target.artifact == name


def test_runtime_travels_whole_without_what_was_compiled() -> None:
    names = {entry.name for entry in payload.runtime_entries()}
    root = Path(edgecell_runtime.__file__).parent
    modules = list(root.rglob("*.py"))
    assert len([name for name in names if name.endswith(".py")]) == len(modules)
    assert "runtime/edgecell_runtime/bench/plan.py" in names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


@pytest.mark.parametrize("kind", ["held-out", "given"])
def test_images_of_people_stay_unless_allowed(tmp_path: Path, kind: str) -> None:
    job = payload.read_job(write_job(tmp_path / "job", kind=kind))
    with pytest.raises(UsageError, match="unless you say so with --data"):
        payload.check_images(job, allowed=False)
    payload.check_images(job, allowed=True)


@pytest.mark.parametrize("kind", ["drawn", "golden"])
def test_images_of_nobody_travel(tmp_path: Path, kind: str) -> None:
    payload.check_images(payload.read_job(write_job(tmp_path / "job", kind=kind)), allowed=False)


def test_job_without_its_artifact_is_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    (job / "net.tflite").unlink()
    with pytest.raises(UsageError, match=r"There is no artifact .*net\.tflite"):
        payload.portable(job)


def test_saved_model_is_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    (job / "net.tflite").unlink()
    (job / "net.tflite").mkdir()
    with pytest.raises(UsageError, match="is a SavedModel, which needs TensorFlow"):
        payload.portable(job)


def test_inputs_outside_the_job_do_not_travel(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    document = json.loads((job / "job.json").read_text(encoding="utf-8"))
    document["inputs"] = ".."
    (job / "job.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match="expected a folder inside"):
        payload.portable(job)


def test_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"job\.json could not be read"):
        payload.portable(tmp_path)
    (tmp_path / "job.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ManifestError, match="lacks the key"):
        payload.portable(tmp_path)


def test_wheels_are_chosen_by_machine(tmp_path: Path) -> None:
    for name in (
        "numpy-2.4.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-2.4.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "flatbuffers-25.1-py2.py3-none-any.whl",
    ):
        (tmp_path / name).touch()
    names = [entry.name for entry in payload.wheel_entries(tmp_path, "aarch64")]
    assert names == [
        "wheels/flatbuffers-25.1-py2.py3-none-any.whl",
        "wheels/numpy-2.4.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    ]


def test_wheelhouse_of_another_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "numpy-2.4.0-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    with pytest.raises(UsageError, match=r"has no wheel for armv7l\..*--platform manylinux"):
        payload.wheel_entries(tmp_path, "armv7l")
