"""OpenVINO's contract tests, collected by name only: see ``test_openvino``."""

from contract.session_contract import ModelFileContract
from support import models

from edgecell_runtime.engines import openvino
from edgecell_runtime.engines.base import Session


class TestOpenVINOSession(ModelFileContract):
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return openvino.ENGINE.open(models.onnx_model(batch), threads)

    def open_bytes(self, model: bytes) -> Session:
        return openvino.ENGINE.open(model, 1)

    def model(self) -> bytes:
        return models.onnx_model(1)
