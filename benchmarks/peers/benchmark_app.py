"""OpenVINO's ``benchmark_app``, which comes with its wheel; a process of its own, as all are."""

import re

from peers.tool import Call, Reading, Tool, Trial, executable, number_after


def _call(found: str, trial: Trial) -> Call:
    options = {
        "m": trial.artifact,
        "d": "CPU",
        "i": f"{trial.input_name}:{trial.pixels}",
        "shape": f"[{','.join(map(str, trial.shape))}]",
        # It allows no hint beside a number of threads; the synchronous interface sets latency's.
        "hint": "none",
        "api": "sync",
        "nireq": 1,
        "nstreams": 1,
        "nthreads": 1,
        "infer_precision": "f32",
        "t": max(round(trial.seconds), 1),
    }
    return Call(
        (found, *(part for key, value in options.items() for part in (f"-{key}", f"{value}")))
    )


def _read(output: str, _trial: Trial) -> Reading:
    return Reading(_milliseconds("Median", output), _milliseconds("Average", output), 1e-5)


def _milliseconds(words: str, output: str) -> float:
    value = number_after(words, output)
    unit = re.search(rf"{words}:\s*[0-9.]+ (us|ms)", output)
    if unit is None:
        raise LookupError(words)
    return value / 1e3 if unit[1] == "us" else value


TOOL = Tool(
    name="benchmark_app",
    engines=("openvino",),
    layer="engine",
    times="InferRequest.latency, OpenVINO's own clock inside a synchronous infer()",
    remarks=("the same pixels again and again, without handing them over or fetching answers",),
    find=lambda: executable("benchmark_app"),
    call=_call,
    read=_read,
)
