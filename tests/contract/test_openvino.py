import sys

import pytest
from contract.session_contract import ModelFileContract
from support import models

from edgecell_runtime.engines import openvino
from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import MissingPartError


@pytest.mark.usefixtures("installed")
class TestOpenVINOSession(ModelFileContract):
    @pytest.fixture
    def installed(self) -> None:
        pytest.importorskip("openvino", reason="OpenVINO is not installed")

    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return openvino.ENGINE.open(models.onnx_model(batch), threads)

    def open_bytes(self, model: bytes) -> Session:
        return openvino.ENGINE.open(model, 1)

    def model(self) -> bytes:
        return models.onnx_model(1)


def test_missing_library_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPartError, match=r"pip install 'edgecell\[openvino\]'"):
        openvino.ENGINE.open(models.onnx_model(1), 1)
