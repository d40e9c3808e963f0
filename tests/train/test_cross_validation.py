"""Figures over folds: pooled at each fold's threshold, their spread, and refusals."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.report_page import make_run

from edgecell.tasks.cross_validating_tables import summary
from edgecell_runtime import codec
from edgecell_runtime.errors import DataError, RunError
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_train import statistics
from edgecell_train.config import TrainConfig
from edgecell_train.cross_validation import fold_name, pool
from edgecell_train.pooling import pooled_evaluation, spread_of
from edgecell_train.runs import Run
from edgecell_train.statistics import evaluate_tested
from edgecell_train.tested_runs import write_disputed

LABELS = ("Parasitized", "Uninfected")


def _tested(seed: int, threshold: float, patients: int = 8, each: int = 6) -> statistics.Tested:
    rng = np.random.default_rng(seed)
    truth = np.tile([0, 1], patients * each // 2)
    score = np.clip(rng.normal(np.where(truth == 0, 0.6, 0.4), 0.2), 0.01, 0.99)
    names = [f"{seed} P{i // each}" for i in range(len(truth))]
    return statistics.Tested(
        truth, np.stack([score, 1 - score], 1), names, LABELS, "Parasitized", threshold
    )


def _shares(folds: list[statistics.Tested]) -> tuple[float, float]:
    """Sensitivity and specificity, counted by hand."""
    decided: list[NDArray[np.bool_]] = [
        fold.probabilities[:, 0] >= fold.threshold for fold in folds
    ]
    said, truth = np.concatenate(decided), np.concatenate([fold.truth for fold in folds])
    return float(said[truth == 0].mean()), float((~said[truth == 1]).mean())


def test_one_fold_pools_to_its_own_evaluation() -> None:
    fold = _tested(1, 0.37)
    assert pooled_evaluation([fold]) == dataclasses.replace(evaluate_tested(fold), folds=1)


def test_each_fold_is_decided_at_its_own_threshold() -> None:
    folds = [_tested(1, 0.2), _tested(2, 0.8)]
    pooled = pooled_evaluation(folds)
    assert pooled.sensitivity is not None
    assert pooled.specificity is not None
    sensitivity, specificity = _shares(folds)
    assert pooled.sensitivity.value == pytest.approx(sensitivity)
    assert pooled.specificity.value == pytest.approx(specificity)
    at_half = pooled_evaluation([_tested(1, 0.5), _tested(2, 0.5)])
    assert at_half.sensitivity != pooled.sensitivity
    assert at_half.auc == pooled.auc
    assert (pooled.n, pooled.patients) == (96, 16)


def test_interval_is_over_patients_and_not_over_images() -> None:
    """Where a patient's images are all right or all wrong, more of them say nothing more."""

    def fold(each: int, number: int) -> statistics.Tested:
        truth = np.tile(np.repeat([0, 1], each), 8)
        patients = [f"{number} P{i // (2 * each)}" for i in range(len(truth))]
        right = np.array([int(name[-1]) % 3 > 0 for name in patients])
        score = np.where(right == (truth == 0), 0.9, 0.1)
        both = np.stack([score, 1 - score], 1)
        return statistics.Tested(truth, both, patients, LABELS, "Parasitized", 0.5)

    few, many = (pooled_evaluation([fold(each, 1), fold(each, 2)]) for each in (1, 20))
    assert few.accuracy == many.accuracy
    assert many.accuracy.high - many.accuracy.low > 0.2


def test_folds_without_a_positive_label_have_the_macro_f1() -> None:
    one = _tested(1, 0.5)
    folds = [statistics.Tested(one.truth, one.probabilities, one.patients, LABELS, None, 0.5)]
    pooled = pooled_evaluation(folds)
    assert pooled.sensitivity is None
    assert pooled.macro_f1 is not None


def test_spread_is_of_the_folds_that_have_a_figure() -> None:
    def evaluation(accuracy: float, auc: float | None) -> Evaluation:
        found = None if auc is None else Figure(auc, 0, 1)
        return Evaluation(10, 2, Figure(accuracy, 0, 1), auc=found)

    spread = spread_of([evaluation(0.8, 0.9), evaluation(0.9, None), evaluation(0.7, None)])
    assert spread["accuracy"].mean == pytest.approx(0.8)
    assert spread["accuracy"].standard_deviation == pytest.approx(0.1)
    assert (spread["auc"].mean, spread["auc"].standard_deviation) == (0.9, None)
    assert (spread["accuracy"].folds, spread["auc"].folds) == (3, 1)
    assert "sensitivity" not in spread


def test_folds_that_test_an_image_twice_are_refused(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b")]
    with pytest.raises(RunError, match="an earlier fold tested it"):
        pool(runs, TrainConfig(folds=2))


def test_folds_of_other_images_are_refused(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", labels=("a", "b"))]
    with pytest.raises(DataError, match="is of other images than"):
        pool(runs, TrainConfig(folds=2))


def _fold(folder: Path, number: int, disputed: tuple[str, ...] = ()) -> Run:
    """A fold that tests images of its own."""
    run = make_run(folder / fold_name(number), wrong=(number,))
    for file in ("split.csv", "answers.csv"):
        path = run.folder / file
        text = path.read_text().replace("/cell ", f"/cell {number}-")
        path.write_text(re.sub(r",P(\d)", rf",P{number}\1", text))
    if disputed:
        write_disputed(run.folder, disputed)
    data = dataclasses.replace(run.record.data, images=12, patients=6)
    return dataclasses.replace(run, record=dataclasses.replace(run.record, data=data))


def test_figures_without_disputed_images_stand_beside_the_pooled_ones(tmp_path: Path) -> None:
    disputed = ("Parasitized/cell 1-1.png", "Uninfected/cell 1-1.png", "elsewhere.png")
    folds = [_fold(tmp_path, 1, disputed), _fold(tmp_path, 2, disputed)]
    found = pool(folds, TrainConfig(folds=2))
    assert found.undisputed is not None
    assert (found.pooled.n, found.undisputed.n) == (12, 10)
    assert found.pooled.accuracy.value == pytest.approx(8 / 12)
    assert found.undisputed.accuracy.value == pytest.approx(8 / 10)
    encoded = json.loads(codec.dumps(found))
    assert encoded["undisputed"]["accuracy"]["value"] == pytest.approx(0.8)
    text = summary(found)
    assert "| figure | pooled (95 % interval) | without 2 disputed images | mean of folds |" in text
    assert "| accuracy | 0.667 (" in text
    assert "| 0.800 (" in text


def test_there_are_no_figures_without_disputed_images_when_none_is_known(tmp_path: Path) -> None:
    found = pool([_fold(tmp_path, 1), _fold(tmp_path, 2)], TrainConfig(folds=2))
    assert found.undisputed is None
    assert "disputed" not in summary(found)


def test_fold_whose_images_are_all_disputed_is_left_out_of_those_figures(tmp_path: Path) -> None:
    every = tuple(f"{label}/cell 1-{i}.png" for label in LABELS for i in range(3))
    found = pool([_fold(tmp_path, 1, every), _fold(tmp_path, 2)], TrainConfig(folds=2))
    assert found.undisputed is not None
    assert found.undisputed.n == 6


def test_cross_validation_at_chance_is_noted(tmp_path: Path) -> None:
    folds = [_fold(tmp_path, 1), _fold(tmp_path, 2)]
    assert "has not learned" in pool(folds, TrainConfig(folds=2)).notes[0]
