"""LiteRT's ``litert-benchmark``, which comes with ai-edge-litert."""

import json
from pathlib import Path
from typing import Final

from peers.tool import Call, Reading, Tool, Trial, executable

_RESULT: Final = "result.json"


def _call(found: str, trial: Trial) -> Call:
    options = {
        "model": trial.artifact,
        "num_threads": 1,
        "num_runs": trial.queries,
        "warmup_runs": max(trial.queries // 5, 5),
        "result_json": _result(trial),
    }
    return Call((found, *(f"--{name}={value}" for name, value in options.items())))


def _read(_output: str, trial: Trial) -> Reading:
    latency = json.loads(_result(trial).read_text("utf-8"))["latency"]
    return Reading(float(latency["median_ms"]), float(latency["avg_ms"]), resolution_ms=0.01)


def _result(trial: Trial) -> Path:
    return trial.folder / _RESULT


TOOL = Tool(
    name="litert-benchmark",
    engines=("litert",),
    layer="session",
    times="CompiledModel.run_by_name, from Python",
    remarks=(
        "another interface of LiteRT than edgecell's Interpreter: inputs and outputs stay in its "
        "own buffers, so that nothing is copied",
        "random input, the same again and again",
    ),
    find=lambda: executable("litert-benchmark"),
    call=_call,
    read=_read,
)
