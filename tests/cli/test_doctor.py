import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from support.command_line import invoke, write_file

from edgecell.tasks import diagnosing
from edgecell_runtime.engines import ENGINES, Engine
from edgecell_runtime.engines.base import Session

ROOT = Path(__file__).parents[2]


def _open(model: bytes, threads: int) -> Session:
    raise AssertionError("doctor opens no model")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules the processes of ``doctor`` find; its one engine imports ``trial``."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in list(ENGINES):
        monkeypatch.delitem(ENGINES, name)
    monkeypatch.setitem(ENGINES, "mine", Engine("mine", ("onnx",), "onnx", "trial", _open))
    return tmp_path


def test_doctor_shows_versions_machine_parts_and_engines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "doctor", "--json")
    found = outcome.document
    assert outcome.status == 0
    assert found["edgecell"] == metadata.version("edgecell")
    assert found["system"]["python"].endswith(sys.version.split()[0])
    assert 1 <= found["system"]["allowed_cpus"] <= found["system"]["host_cpus"]
    assert [part["name"] for part in found["parts"]] == list(diagnosing.PARTS)
    works = {check["name"]: check["works"] for check in found["engines"]}
    assert works == {"litert": True, "onnxruntime": True, "openvino": works["openvino"]}
    assert found["gpu"] is None


def test_doctor_shows_tables_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "doctor")
    shown = " ".join(outcome.out.split())
    assert outcome.status == 0
    assert f"onnx yes onnxruntime {metadata.version('onnxruntime')}" in shown
    assert "allowed to this process" in shown
    assert "`edgecell doctor --gpu` imports TensorFlow" in shown


def test_doctor_imports_no_engine_into_its_own_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow", "keras", "onnxruntime", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, name, None)
    assert invoke(capsys, "doctor").status == 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise ImportError('libfast.so.3 is missing')", "ImportError: libfast.so.3 is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL; it may be built for"),
        ("import sys; sys.exit(7)", "exit status 7"),
    ],
)
def test_broken_engine_is_shown_with_its_reason_and_status_1(
    modules: Path, capsys: pytest.CaptureFixture[str], program: str, reason: str
) -> None:
    write_file(modules / "trial.py", program.encode())
    outcome = invoke(capsys, "doctor")
    assert outcome.status == 1
    assert reason in outcome.out
    assert "Installed, but does not work: mine" in outcome.err


def test_engine_that_is_not_installed_is_no_failure(
    modules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosing, "PARTS", {**diagnosing.PARTS, "onnx": ("no-such-thing",)})
    outcome = invoke(capsys, "doctor", "--json")
    (check,) = outcome.document["engines"]
    (part,) = [part for part in outcome.document["parts"] if part["name"] == "onnx"]
    assert outcome.status == 0
    assert (check["installed"], check["works"]) == (False, False)
    assert "pip install 'edgecell[onnx]'" in check["detail"]
    assert part["missing"] == ["no-such-thing"]
    assert part["install"] == "pip install 'edgecell[onnx]'"


def test_missing_part_is_shown_with_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosing, "PARTS", {**diagnosing.PARTS, "train": ("keras", "no-thing")})
    shown = " ".join(invoke(capsys, "doctor").out.split())
    assert "train no pip install 'edgecell[train]' (missing: no-thing)" in shown


@pytest.mark.parametrize(
    ("program", "names", "detail"),
    [
        ("", ("Fast GPU", "other"), ""),
        ("raise ImportError('no libcudnn')", (), "ImportError: no libcudnn"),
    ],
)
def test_gpus_are_tensorflows(
    modules: Path, program: str, names: tuple[str, ...], detail: str
) -> None:
    stub = f"""{program}
class _Gpu:
    name = "other"
class config:
    list_physical_devices = staticmethod(lambda kind: [_Gpu, _Gpu()])
    class experimental:
        get_device_details = staticmethod(
            lambda gpu: {{"device_name": "Fast GPU"}} if gpu is _Gpu else {{}}
        )
"""
    write_file(modules / "tensorflow.py", stub.encode())
    assert diagnosing.check_gpu() == diagnosing.GpuCheck(names, detail)


def test_keras_backend_is_the_environments_then_the_files_then_the_default(tmp_path: Path) -> None:
    home = {"KERAS_HOME": str(tmp_path)}
    assert diagnosing.keras_backend(home) == "tensorflow (Keras's default)"
    write_file(tmp_path / "keras.json", b"not JSON")
    assert diagnosing.keras_backend(home) == "tensorflow (Keras's default)"
    write_file(tmp_path / "keras.json", json.dumps({"backend": "jax"}).encode())
    assert diagnosing.keras_backend(home) == f"jax ({tmp_path / 'keras.json'})"
    chosen = diagnosing.keras_backend({**home, "KERAS_BACKEND": "torch"})
    assert chosen == "torch (KERAS_BACKEND)"


def test_parts_are_the_extras_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]

    def names(extra: str) -> set[str]:
        found: set[str] = set()
        for requirement in extras[extra]:
            nested = re.fullmatch(r"edgecell\[(.*)\]", requirement)
            if nested:
                found.update(*(names(item) for item in nested[1].split(",")))
            else:
                found.add(re.split(r"[\[>=<~! ]", requirement)[0])
        return found

    for part, distributions in diagnosing.PARTS.items():
        assert set(distributions) == names(part)
    assert set(diagnosing.PARTS) == set(extras) - {"all", "train-gpu", "train-jax"}
