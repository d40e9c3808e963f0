"""pytest-benchmark around ``Session.run``, with its own loop and its own clock."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Final

from peers.tool import Call, Reading, Tool, Trial

_SUITE: Final = Path(__file__).with_name("session_run_suite.py")
_RESULT: Final = "result.json"


def _find() -> str | None:
    return sys.executable if importlib.util.find_spec("pytest_benchmark") else None


def _call(found: str, trial: Trial) -> Call:
    options = (
        *("-q", "-p", "no:cacheprovider", "--benchmark-warmup=on"),
        f"--rootdir={_SUITE.parents[2]}",
        f"--benchmark-max-time={trial.seconds}",
        f"--benchmark-json={trial.folder / _RESULT}",
    )
    environment = {
        "EDGECELL_ARTIFACT": str(trial.artifact),
        "EDGECELL_ENGINE": trial.engine,
        "EDGECELL_PIXELS": str(trial.pixels),
    }
    return Call((found, "-m", "pytest", str(_SUITE), *options), environment)


def _read(_output: str, trial: Trial) -> Reading:
    ((found,),) = [json.loads((trial.folder / _RESULT).read_text("utf-8"))["benchmarks"]]
    stats = found["stats"]
    return Reading(float(stats["median"]) * 1e3, float(stats["mean"]) * 1e3)


TOOL = Tool(
    name="pytest-benchmark",
    engines=("litert", "onnxruntime", "openvino"),
    layer="session",
    times="edgecell's Session.run, from Python",
    remarks=("the same pixels again and again",),
    find=_find,
    call=_call,
    read=_read,
)
