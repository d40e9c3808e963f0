"""The wheel with one engine in an empty virtual environment, as a device has it."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support.artifacts import write_artifact

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
import numpy as np
from edgecell_runtime import Classifier, bundled_names
with Classifier.open(sys.argv[1]) as classifier:
    height, width, _ = classifier.manifest.preprocessing.shape
    print(classifier.predict(np.zeros((height, width, 3), np.uint8)).label)
for name in bundled_names():
    with Classifier.bundled(name) as classifier:
        print(name, classifier.engine)
"""


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )


def test_wheel_with_only_tflite_runs_in_an_empty_environment(tmp_path: Path) -> None:
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    installed = run(
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", ROOT / "constraints.txt", f"{wheel}[tflite]",
    )  # fmt: skip
    if "No matching distribution" in installed.stderr or "ConnectionError" in installed.stderr:
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    artifact = write_artifact(tmp_path, "tflite")
    done = run(python, "-c", PROGRAM, artifact)
    assert done.returncode == 0, done.stderr
    bundled = [f"{name} litert" for name in ("cell-micro", "cell-nano", "cell-small")]
    assert done.stdout.splitlines()[1:] == bundled
    packages = run(python, "-m", "pip", "list", "--format=freeze").stdout.lower()
    for name in ("tensorflow", "keras", "onnx", "typer", "scipy"):
        assert f"\n{name}==" not in packages
    console = run(tmp_path / "venv/bin/edgecell", "--help")
    assert console.returncode == 1
    assert "pip install 'edgecell[cli]'" in console.stderr
