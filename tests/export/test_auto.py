"""``--recipe auto``: every recipe is tried on validation patients, one is written."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_run import SmallRun

from edgecell_export import choosing
from edgecell_export.choosing import Candidate
from edgecell_export.conversion_process import Converted, ConvertHere
from edgecell_export.exporting import Exported, Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.options import ExportOptions
from edgecell_export.prepare.nodes import Dense
from edgecell_runtime.errors import ConversionError, ParityError
from edgecell_runtime.manifest import Format

ONNX = CONVERTERS["onnx"]
TIMES = {"float32": 900, "weight_only_int8": 400, "dynamic_int8": 1000, "static_int8": 401}
"""Microseconds: two that cannot be told apart, and slower ones."""


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts take the times above, with noise."""

    def measured(classifiers: list[Any], _: Any) -> Any:
        rng = np.random.default_rng(0)
        medians = [TIMES.get(one.manifest.recipe, 2000) * 1000 for one in classifiers]
        return (np.array(medians)[:, None] * rng.normal(1, 0.05, (len(medians), 300))).astype(int)

    monkeypatch.setattr(choosing, "measure_by_turns", measured)


class Failing(ConvertHere):
    """Gives some recipes another graph's weights, whose answers are not numbers."""

    def __init__(self, *recipes: str, factor: float = np.nan) -> None:
        self._recipes, self._factor = recipes, factor

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        if conversion.recipe.name in self._recipes:
            last = conversion.graph.last
            layer = last.nodes[-1]
            assert isinstance(layer, Dense)
            broken = dataclasses.replace(layer, bias=layer.bias * self._factor)
            graph = conversion.graph.with_last(last.with_nodes(*last.nodes[:-1], broken))
            conversion = dataclasses.replace(conversion, graph=graph)
        return super().run(form, conversion, path)


def choose(
    run: SmallRun, folder: Path, *broken: str, **options: Any
) -> tuple[Exported, dict[str, Candidate]]:
    settings = ExportOptions(calibration_images=100, **options)
    with Exporter(run.source, run.evidence, settings, runner=Failing(*broken)) as exporter:
        exported, tried = exporter.choose(ONNX, folder)
    return exported, {one.recipe: one for one in tried}


@pytest.mark.usefixtures("timed")
def test_choice_is_the_smallest_of_the_fastest_and_the_only_one_written(
    small_run: SmallRun, tmp_path: Path
) -> None:
    exported, tried = choose(small_run, tmp_path, tolerance=5)
    assert set(tried) == set(ONNX.recipes)
    kept = {name: one for name, one in tried.items() if not one.refused}
    fastest = {"weight_only_int8", "static_int8"} & set(kept)
    assert fastest
    smallest = min(fastest, key=lambda name: kept[name].size_bytes or 0)
    assert [name for name, one in tried.items() if one.chosen] == [smallest]
    assert exported.manifest.recipe == smallest
    name = f"small-{smallest}-calibration100-loosened.onnx"
    files = {name, f"{name}.md"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert all(one.loss is not None and one.loss.sample == 60 for one in kept.values())


@pytest.mark.usefixtures("timed")
def test_choice_may_be_float_though_integers_may_lose_a_little(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIMES, "float32", 100)
    exported, tried = choose(small_run, tmp_path, max_drop=100)
    assert exported.manifest.recipe == "float32"
    assert tried["float32"].chosen


@pytest.mark.usefixtures("timed")
def test_candidate_that_its_engine_fails_on_is_refused_and_the_others_go_on(
    small_run: SmallRun, tmp_path: Path
) -> None:
    _, tried = choose(small_run, tmp_path, "weight_only_int8", tolerance=5)
    assert "not numbers" in tried["weight_only_int8"].refused
    assert not tried["float32"].refused


def test_choice_is_refused_with_all_reasons_when_no_recipe_keeps_the_answers(
    small_run: SmallRun, tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match="No recipe of onnx keeps the source") as caught:
        choose(small_run, tmp_path, *ONNX.recipes)
    assert all(f"{recipe}: " in str(caught.value) for recipe in ONNX.recipes)
    assert not list(tmp_path.iterdir())


class Recording(ConvertHere):
    """Notes the rule for ranges of each conversion, and refuses it."""

    def __init__(self) -> None:
        self.ranges: dict[str, str] = {}

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        self.ranges[conversion.recipe.name] = conversion.ranges
        raise ConversionError("noted.")


def test_rule_for_ranges_is_taken_where_there_are_8_bit_ranges(
    small_run: SmallRun, tmp_path: Path
) -> None:
    runner, options = Recording(), ExportOptions(ranges="mse")
    with (
        Exporter(small_run.source, small_run.evidence, options, runner=runner) as exporter,
        pytest.raises(ParityError, match="No recipe of onnx keeps"),
    ):
        exporter.choose(ONNX, tmp_path)
    others = dict.fromkeys(set(ONNX.recipes) - {"static_int8"}, "min-max")
    assert runner.ranges == {**others, "static_int8": "mse"}
