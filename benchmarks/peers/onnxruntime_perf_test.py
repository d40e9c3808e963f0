"""ONNX Runtime's ``onnxruntime_perf_test``: no wheel has it, one builds it from the source."""

import contextlib

from peers.tool import Call, Reading, Tool, Trial, executable, number_after


def _call(found: str, trial: Trial) -> Call:
    # -I makes the input up, -s prints percentiles; -o 99 is what a session does by itself.
    options = f"-e cpu -m duration -t {max(round(trial.seconds), 1)} -x 1 -y 1 -o 99 -I -s"
    return Call((found, *options.split(), str(trial.artifact)))


def _read(output: str, _trial: Trial) -> Reading:
    mean = None
    for words in ("Average inference time cost", "Average time cost"):  # by version
        with contextlib.suppress(LookupError):
            mean = number_after(words, output)
    return Reading(number_after("P50 Latency", output) * 1e3, mean)


TOOL = Tool(
    name="onnxruntime_perf_test",
    engines=("onnxruntime",),
    layer="session",
    times="Session::Run, from C++",
    remarks=(
        "no Python between it and the engine",
        "made-up input, the same again and again",
    ),
    find=lambda: executable("onnxruntime_perf_test"),
    call=_call,
    read=_read,
)
