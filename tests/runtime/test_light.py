"""What a device would import, in an interpreter of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifacts
from support.pictures import encoded, gradient

from edgecell_runtime.manifest import Format

HEAVY = {
    *("tensorflow", "keras", "onnx", "tf2onnx", "sklearn", "scipy", "matplotlib"),
    *("typer", "rich", "jinja2", "httpx"),
    *("edgecell", "edgecell_train", "edgecell_export"),
}

PROGRAM = """
import json, sys
from edgecell_runtime import Classifier

with Classifier.open(sys.argv[1]) as classifier:
    prediction = classifier.predict(sys.argv[2])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"label": prediction.label, "loaded": sorted(loaded)}))
"""


@pytest.mark.parametrize(
    ("artifact_format", "engine", "other"),
    [("onnx", "onnxruntime", "ai_edge_litert"), ("tflite", "ai_edge_litert", "onnxruntime")],
)
def test_classifier_loads_its_engine_and_no_heavy_library(
    tmp_path: Path, artifact_format: Format, engine: str, other: str
) -> None:
    model = artifacts.write_artifact(tmp_path, artifact_format)
    picture = tmp_path / "cell.png"
    picture.write_bytes(encoded(gradient(), "PNG"))
    command = [sys.executable, "-c", PROGRAM, str(model), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["label"] in artifacts.LABELS
    assert {"edgecell_runtime", engine} <= set(answer["loaded"])
    assert not {*HEAVY, other} & set(answer["loaded"])


def test_import_loads_no_engine() -> None:
    program = "import sys, edgecell_runtime; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "edgecell_runtime" in loaded
    assert not {*HEAVY, "ai_edge_litert", "onnxruntime"} & loaded


def test_png_is_read_without_the_modules_of_other_formats(tmp_path: Path) -> None:
    picture = tmp_path / "cell.png"
    picture.write_bytes(encoded(gradient(), "PNG"))
    program = (
        "import sys; from edgecell_runtime.images import open_image;"
        "open_image(sys.argv[1]); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(picture)], capture_output=True, text=True, check=True
    )
    assert "PIL.PngImagePlugin" in done.stdout.split()
    assert not {"PIL.JpegImagePlugin", "PIL.GifImagePlugin"} & set(done.stdout.split())
