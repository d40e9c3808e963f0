"""Options of ``edgecell export`` that are refused before anything slow begins."""

import sys
from pathlib import Path

import pytest
from support.command_line import invoke


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--recipe float16 --quantize int8",
            "--recipe float16 and --quantize int8 both name a recipe",
        ),
        ("--recipe int8", "There is no recipe 'int8'; expected one of float32, float16, weight"),
        ("--quantize int4", "There is no quantisation 'int4'; expected one of none, float16"),
        ("--recipe static_int8 --target mips", "mips"),
        ("--ranges widest", "widest"),
        ("--head softmax", "softmax"),
        ("--tolerance 9", "--tolerance 9 is no factor between 1 and 5"),
        ("--max-drop 0.3", "--max-drop is for recipes of integers; float32 has no layer"),
        ("--max-drop -1 --quantize int8", "--max-drop -1 is out of range"),
        ("--head probabilities --quantize int8", "static_int8 ends in logits"),
        ("--recipe static_int8_int16 --ranges mse", "--ranges mse weighs clipping"),
        ("--target x86", "--target and --calibration-images are for recipes of integers"),
        ("--batch -2", "--batch -2 is out of range"),
        ("--calibration-images 50 --quantize int8", "--calibration-images 50 is too few"),
        ("--format onnx --recipe float16", "onnx has no float16: ONNX Runtime's CPU kernels"),
        ("--format savedmodel --quantize int8", "savedmodel has no static_int8"),
        ("--format tf", "There is no format 'tf'; expected one of savedmodel, tflite, onnx"),
    ],
)
def test_export_is_wrong_usage_before_anything_slow_begins(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    outcome = invoke(capsys, "export", "no-such-run", *words.split())
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.out == ""
    assert "is no run" not in outcome.err  # options were looked at first


def test_export_of_an_unknown_run_does_not_import_tensorflow(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # an import of it would raise
    outcome = invoke(capsys, "export", "--recipe", "auto")
    assert outcome.status == 1
    assert "There is no run here" in outcome.err
