"""The main job on real cells: six epochs, four exports, patients that were never trained on."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("EDGECELL_DATA") or Path(__file__).parents[3] / "shared" / "data")
SMALL = DATA / "nlm-cells-50px.zip"
ORIGINAL = DATA / "nlm-cells-original-sizes.zip"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SMALL.is_file(), reason=f"the real cells are not in {DATA}"),
]


def edgecell(folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgecell", *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Chain:
    folder: Path
    record: Any
    artifacts: list[Path]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("real")
    record = edgecell(folder, "train", "--data", str(SMALL), "--epochs", "6")
    artifacts = []
    for form in ("tflite", "onnx"):
        for quantize in ("none", "int8"):
            done = edgecell(folder, "export", "--format", form, "--quantize", quantize)
            artifacts += [Path(item["path"]) for item in done["artifacts"]]
    return Chain(folder, record, artifacts)


def test_malaria_cnn_reaches_93_percent_on_unseen_patients(chain: Chain) -> None:
    assert chain.record["evaluation"]["accuracy"]["value"] >= 0.93
    assert chain.record["evaluation"]["patients"] >= 25


def test_artifacts_are_within_half_a_point_of_the_source_on_all_unseen_cells(chain: Chain) -> None:
    source = chain.record["evaluation"]["accuracy"]["value"]
    rows = edgecell(chain.folder, "bench")["rows"]
    scored = {row["artifact"]: row["evaluation"] for row in rows if row["evaluation"] is not None}
    assert set(scored) == {path.name for path in chain.artifacts}
    for name, evaluation in scored.items():
        assert evaluation["n"] == chain.record["evaluation"]["n"]
        assert abs(evaluation["accuracy"]["value"] - source) <= 0.005, name


@pytest.mark.skipif(not ORIGINAL.is_file(), reason=f"the original sizes are not in {DATA}")
def test_original_sizes_are_within_a_point_of_50_pixels(chain: Chain, tmp_path: Path) -> None:
    from edgecell_runtime.labelled import open_labelled

    artifact = str(chain.artifacts[0])
    original = edgecell(chain.folder, "evaluate", artifact, "--data", str(ORIGINAL))
    with open_labelled(ORIGINAL) as images, open_labelled(SMALL) as small:
        for image in images:
            same = small.get(image.name)
            assert same is not None
            target = tmp_path / image.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(small.read(same))
    at_50_pixels = edgecell(chain.folder, "evaluate", artifact, "--data", str(tmp_path))
    assert original["n"] == at_50_pixels["n"] == 1397
    difference = original["accuracy"]["value"] - at_50_pixels["accuracy"]["value"]
    assert abs(difference) <= 0.01
