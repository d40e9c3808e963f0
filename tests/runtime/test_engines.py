"""The register of engines."""

import pytest

from edgecell_runtime import engines
from edgecell_runtime.engines import ENGINES, engine_for, engines_for, register
from edgecell_runtime.errors import EngineError
from edgecell_runtime.manifest import Format

FIRST: list[tuple[Format, str]] = [("tflite", "litert"), ("onnx", "onnxruntime")]


@pytest.mark.parametrize(("artifact_format", "name"), FIRST)
def test_engine_is_found_by_format_and_by_name(artifact_format: Format, name: str) -> None:
    assert engine_for(artifact_format).name == name
    assert engines_for(artifact_format)[0] is ENGINES[name]
    assert engines_for(artifact_format, name) == [ENGINES[name]]


def test_engines_are_tried_in_their_written_order() -> None:
    assert [engine.name for engine in engines_for("tflite")] == ["litert"]
    assert [engine.name for engine in engines_for("onnx")] == ["onnxruntime", "openvino"]


def test_engine_is_refused_when_there_is_none_of_that_name() -> None:
    with pytest.raises(EngineError, match="no engine 'lite'; there are litert, onnxruntime"):
        engines_for("tflite", "lite")


def test_engine_is_refused_when_it_does_not_run_the_format() -> None:
    with pytest.raises(EngineError, match="The engine litert does not run onnx"):
        engines_for("onnx", "litert")


def test_refusal_says_where_to_go_when_the_format_is_savedmodel() -> None:
    with pytest.raises(EngineError, match=r"No engine here runs savedmodel\. A SavedModel needs"):
        engine_for("savedmodel")


def test_register_refuses_a_name_that_is_taken() -> None:
    before = dict(ENGINES)
    with pytest.raises(ValueError, match="'litert' is registered already"):
        register(engines.litert.ENGINE)
    assert before == ENGINES
