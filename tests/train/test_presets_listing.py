"""``edgecell presets`` lists them for people and for machines, without Keras."""

import csv
import dataclasses
import sys
from pathlib import Path

import pytest
from support.command_line import invoke

from edgecell_train.presets import PRESETS
from edgecell_train.presets.parameters import PARAMETERS


@pytest.fixture(autouse=True)
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorflow", "keras", "jax"):
        monkeypatch.setitem(sys.modules, name, None)


def test_presets_are_listed_with_input_parameters_and_source(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "presets")
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert outcome.status == 0
    assert set(PRESETS) < set(rows)
    assert "64 x 64 RGB" in rows["malaria-cnn"]
    assert "4,340,130 (4,338,466)" in rows["malaria-cnn"]
    assert "Rajaraman et al. 2018" in rows["malaria-cnn"]
    assert "28 x 28 grey" in rows["mnist-cnn"]
    assert " 693,962 " in rows["mnist-cnn"]
    assert "(693,962)" not in rows["mnist-cnn"]
    assert "64 x 128 x 128 RGB" in rows["cnn-3d"]


def test_presets_are_listed_for_machines_with_their_recipes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = invoke(capsys, "presets", "--json")
    found = {preset["name"]: preset for preset in outcome.document["presets"]}
    assert list(found) == list(PRESETS)
    assert found["mnist-cnn"]["input"] == [28, 28, 1]
    assert found["malaria-cnn"]["parameters"] == {"total": 4_340_130, "trainable": 4_338_466}
    assert found["malaria-gap"]["recipe"]["optimizer"]["name"] == "adadelta"
    assert found["logistic"]["head"] == "sigmoid"


def test_presets_are_written_to_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "presets.csv"
    assert invoke(capsys, "presets", "--output", path).status == 0
    header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    assert header == ["name", "input", "parameters", "what it is", "source"]
    assert [row[0] for row in rows] == list(PRESETS)


def test_presets_are_not_written_to_a_file_of_another_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = invoke(capsys, "presets", "--output", tmp_path / "presets.txt")
    assert (outcome.status, outcome.out) == (2, "")


def test_preset_that_nobody_counted_is_listed_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = dataclasses.replace(PRESETS["mlp"], name="added")
    monkeypatch.setitem(PRESETS, "added", added)
    outcome = invoke(capsys, "presets", "--json")
    assert outcome.document["presets"][-1]["parameters"] is None
    assert "added" not in PARAMETERS
    assert "64 x 64 RGB  " in invoke(capsys, "presets").out
