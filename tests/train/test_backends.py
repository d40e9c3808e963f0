"""Every preset for images trains under both of Keras's backends; with JAX without TensorFlow."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import backend_child

from edgecell_train.presets import PRESETS

pytestmark = pytest.mark.slow

NAMES = [name for name, preset in PRESETS.items() if preset.preprocessing.depth is None]


@dataclass(frozen=True)
class Trained:
    """A line of the child."""

    name: str
    backend: str
    losses: list[float]
    same: bool
    tuned: list[float]


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """What each preset's training came to, in one process a backend."""
    if request.param == "jax":
        pytest.importorskip("jax")
    command = [sys.executable, backend_child.__file__, str(tmp_path_factory.mktemp("models"))]
    done = subprocess.run(
        [*command, *NAMES, *(["--no-tensorflow"] if request.param == "jax" else [])],
        env={
            **os.environ,
            "KERAS_BACKEND": request.param,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [Trained(**json.loads(line)) for line in done.stdout.splitlines()]
    assert {line.backend for line in lines} == {request.param}
    return {line.name: line for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_preset_trains_and_its_saved_model_answers_the_same(
    name: str, trained: dict[str, Trained]
) -> None:
    assert all(math.isfinite(loss) and loss > 0 for loss in trained[name].losses)
    assert trained[name].same


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_fine_tuned_as_integers(name: str, trained: dict[str, Trained]) -> None:
    losses = trained[name].tuned
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
