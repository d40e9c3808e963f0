"""ONNX Runtime's ``onnxruntime_test``, which comes with its wheel.

It has no option for threads, but ONNX Runtime takes a session's options out of the model itself
where ``ORT_LOAD_CONFIG_FROM_MODEL`` is set. So it is given a copy with one more entry of metadata,
appended to the file's bytes: readers of Protocol Buffers merge what follows.
"""

import json
from pathlib import Path
from typing import Final

from peers.tool import Call, Reading, Tool, Trial, executable, number_after

_CONFIGURATION: Final = {"session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1}}


def with_configuration(model: bytes) -> bytes:
    """An ONNX model that asks for one thread, where ONNX Runtime listens."""
    import onnx

    entry = onnx.StringStringEntryProto(key="ort_config", value=json.dumps(_CONFIGURATION))
    appended: bytes = onnx.ModelProto(metadata_props=[entry]).SerializeToString()
    return model + appended


def _call(found: str, trial: Trial) -> Call:
    copy: Path = trial.folder / "one-thread.onnx"
    copy.write_bytes(with_configuration(trial.artifact.read_bytes()))
    return Call((found, str(copy), str(trial.queries)), {"ORT_LOAD_CONFIG_FROM_MODEL": "1"})


def _read(output: str, _trial: Trial) -> Reading:
    return Reading(None, number_after("avg latency", output))


TOOL = Tool(
    name="onnxruntime_test",
    engines=("onnxruntime",),
    layer="session",
    times="InferenceSession.run, from Python",
    remarks=(
        "prints a mean only, of all queries from the very first on: held against edgecell's mean",
        "random input, the same again and again",
    ),
    find=lambda: executable("onnxruntime_test"),
    call=_call,
    read=_read,
)
