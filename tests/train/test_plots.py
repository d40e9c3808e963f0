"""Plots: curves with and without the averages, several runs, precision without its spike."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecell_train import decision_plots, plots
from edgecell_train.history import EpochRecord

WITH = [EpochRecord(i, 1 / i, 0.5, 0.6, 0.8, 0.9 * i, 0.55) for i in (1, 2, 3)]
WITHOUT = [EpochRecord(i, 1 / i, 0.5, 0.6, 0.8) for i in (1, 2)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn."""
    found: list[Any] = []
    kept = plots.png

    def png(figure: Any) -> bytes:
        found.append(figure)
        return kept(figure)

    monkeypatch.setattr(plots, "png", png)
    return found


def _legend(figure: Any) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def _curve(axes: Any, label: str) -> list[float]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return list(line.get_ydata())


def test_history_shows_the_validation_with_and_without_the_averages(drawn: list[Any]) -> None:
    Image.open(io.BytesIO(plots.history(WITH, 2))).load()
    loss, accuracy = drawn[0].axes
    assert _legend(drawn[0]) == ["training", plots.AFTER, plots.BEFORE, "kept epoch"]
    assert _curve(loss, plots.BEFORE) == [0.9, 1.8, 0.9 * 3]
    assert _curve(accuracy, plots.AFTER) == [0.8] * 3


def test_history_names_one_validation_when_there_is_one(drawn: list[Any]) -> None:
    plots.history(WITHOUT)
    assert _legend(drawn[0]) == ["training", "validation"]


def test_legends_lie_beside_the_curves(drawn: list[Any]) -> None:
    plots.history(WITH, 2)
    plots.validations({"one": WITH, "another": WITHOUT})
    for figure in drawn:
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert all(not box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert box.y0 >= 0


def test_validations_of_all_runs_are_in_one_plot_by_name(drawn: list[Any]) -> None:
    plots.validations({"cured": WITH, "plain": WITHOUT})
    names = ["cured: " + plots.AFTER, "cured: " + plots.BEFORE, "plain"]
    assert _legend(drawn[0]) == names
    for axes in drawn[0].axes:
        assert [line.get_label() for line in axes.lines] == names


def test_loss_is_logarithmic_when_a_curve_would_flatten_the_others(drawn: list[Any]) -> None:
    noisy = [EpochRecord(1, 0.5, 0.5, 0.6, 0.8, 70.0, 0.5)]
    plots.history(noisy)
    plots.history(WITH)
    assert [figure.axes[0].get_yscale() for figure in drawn] == ["log", "linear"]


def test_many_epochs_of_one_and_of_more_runs_than_colours_can_be_drawn() -> None:
    long: Sequence[EpochRecord] = [EpochRecord(i, 0.5, 0.5, 0.6, 0.8) for i in range(1, 121)]
    runs = {f"run {i}": long for i in range(len(plots.RUNS) + 2)}
    image = Image.open(io.BytesIO(plots.validations(runs)))
    assert image.height > 500


def test_precision_begins_where_ten_images_count_as_positive() -> None:
    score = np.linspace(0.99, 0.01, 100)
    is_positive = np.arange(100) < 50
    is_positive[0] = False  # the surest image is mislabelled: precision 0 at the very left
    recalls, precisions = decision_plots.precision_curve(is_positive, score)
    assert recalls.min() == pytest.approx(9 / 49)
    assert precisions[recalls.argmin()] == pytest.approx(0.9)
    assert (recalls.max(), precisions.min()) == (1, pytest.approx(0.49))


def test_precision_of_few_images_is_drawn_where_all_count_as_positive() -> None:
    recalls, precisions = decision_plots.precision_curve(
        np.array([True, False, True]), np.array([0.9, 0.5, 0.2])
    )
    assert (recalls.tolist(), precisions.tolist()) == ([1], [pytest.approx(2 / 3)])
