import sys
from pathlib import Path

import onnx
import pytest
from contract.session_contract import ModelFileContract
from support import models

from edgecell_runtime.engines import onnxruntime
from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError, MissingPartError


class TestONNXRuntimeSession(ModelFileContract):
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return onnxruntime.ENGINE.open(models.onnx_model(batch), threads)

    def open_bytes(self, model: bytes) -> Session:
        return onnxruntime.ENGINE.open(model, 1)

    def model(self) -> bytes:
        return models.onnx_model(1)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (onnx.TensorProto.INT64, [1, 2]),
        (onnx.TensorProto.FLOAT, [2]),
        (onnx.TensorProto.FLOAT, [1, 2, 3]),
    ],
)
def test_model_is_refused_when_no_classifier_has_such_a_tensor(kind: int, shape: list[int]) -> None:
    with pytest.raises(EngineError, match="The model's tensor in is of the type"):
        onnxruntime.ENGINE.open(models.odd_onnx_model(kind, shape), 1)


def test_model_is_refused_when_its_weights_lie_in_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such a file would be outside of the artifact's seal.
    monkeypatch.chdir(tmp_path)
    model = onnx.load_model_from_string(models.onnx_model(1))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").is_file()
    with pytest.raises(EngineError, match="ONNX Runtime refuses the model"):
        onnxruntime.ENGINE.open(path.read_bytes(), 1)


def test_missing_library_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPartError, match=r"pip install 'edgecell\[onnx\]'"):
        onnxruntime.ENGINE.open(models.onnx_model(1), 1)
