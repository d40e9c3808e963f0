import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from support import models

from edgecell_runtime.engines import openvino
from edgecell_runtime.errors import MissingPartError

SUITE = Path(__file__).with_name("openvino_suite.py")


def test_session_keeps_the_contract() -> None:
    # In a process of its own: beside TensorFlow and matplotlib, OpenVINO ended the whole test run
    # with a segmentation fault, at the next C++ library that was loaded or the next Ctrl-C.
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed (--group peers)")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SUITE)]
    done = subprocess.run(
        command, cwd=SUITE.parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_missing_library_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPartError, match=r"pip install 'edgecell\[openvino\]'"):
        openvino.ENGINE.open(models.onnx_model(1), 1)
