"""The plots of a report, as ``data:`` URIs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.report_pictures import png_data_uri, png_uri
from edgecell_train import decision_plots, plots
from edgecell_train.history import EpochRecord
from edgecell_train.runs import Run
from edgecell_train.statistics import Tested
from edgecell_train.tested_runs import uncalibrated_of


@dataclass(frozen=True)
class Plots:
    """What is drawn; None where there is nothing to draw.

    Attributes:
        history: Loss and accuracy by epoch.
        cured: Whether it has the validation with and without the averages estimated anew.
        decisions: ROC and precision-recall; None without a positive label or with one class only.
        reliability: How often labels are right, by probability.
        both: Whether the reliability is shown before and after the temperature.
    """

    history: str | None
    cured: bool
    decisions: str | None
    reliability: str
    both: bool


def draw(run: Run, tested: Tested, history: Sequence[EpochRecord]) -> Plots:
    """Draws a run.

    Args:
        run: The run.
        tested: Its answers.
        history: Its epochs; where there are none, the plot that training left is taken.

    Raises:
        RunError: The run is damaged.
    """
    answers = _answers(run, tested)
    return Plots(
        history=_history(run, history),
        cured=plots.has_before(history),
        decisions=_decisions(tested),
        reliability=png_data_uri(decision_plots.reliability(tested.truth, answers)),
        both=len(answers) > 1,
    )


def _history(run: Run, history: Sequence[EpochRecord]) -> str | None:
    if not history:
        return png_uri(run.folder / "history.png")
    return png_data_uri(plots.history(history, run.record.kept_epoch))


def _decisions(tested: Tested) -> str | None:
    is_positive, score = tested.is_positive, tested.score
    if is_positive is None or score is None or len(np.unique(is_positive)) < 2:
        return None
    return png_data_uri(decision_plots.decisions(is_positive, score, tested.threshold))


def _answers(run: Run, tested: Tested) -> dict[str, NDArray[np.float64]]:
    temperature = run.record.temperature
    before = uncalibrated_of(run) if temperature != 1 else None
    if before is None:
        return {"test images": tested.probabilities}
    return {
        "before (temperature 1)": before,
        f"after (temperature {temperature:.3g})": tested.probabilities,
    }
