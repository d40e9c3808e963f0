"""What is settled on the validation patients: first the temperature, then the threshold."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_train.config import Decision

HOTTEST: Final = 20.0
COLDEST: Final = 0.05
"""The temperature is looked for between these; a net that wants more than that is not mended."""

_SMALLEST: Final = 1e-300
"""A probability of 0 has no logarithm."""

_HALF: Final = 0.5


@dataclass(frozen=True)
class Decided:
    """How answers become probabilities and decisions.

    Attributes:
        temperature: Divides the logits.
        threshold: An image is positive at this calibrated probability of the positive label or
            above, 0-1.
        rule: That chose the threshold: ``fixed``, ``youden`` or ``sensitivity >= 0.95``.
        note: What the user has to know, as sentences; empty where all went as asked.
    """

    temperature: float
    threshold: float
    rule: str
    note: str = ""


@dataclass(frozen=True)
class Fitted:
    """A temperature, and why it is 1 where none could be fitted."""

    temperature: float
    note: str = ""


@dataclass(frozen=True)
class Chosen:
    """A threshold, the rule that chose it, and what the user has to know."""

    threshold: float
    rule: str
    note: str = ""


def decide(
    decision: Decision,
    head: Head,
    labels: tuple[str, ...],
    positive_label: str | None,
    truth: NDArray[np.integer],
    logits: NDArray[np.floating],
) -> Decided:
    """Fits the temperature, then chooses the threshold on the probabilities that it gives.

    Args:
        decision: What was asked for.
        head: Of the model.
        labels: In the order of the model's classes.
        positive_label: What a positive decision means; None leaves the threshold at 0.5.
        truth: int (n,), index of each validation image's label.
        logits: float (n, outputs), the model's; see ``logits_of_outputs``.

    Raises:
        UsageError: A threshold or a wanted sensitivity is not between 0 and 1.
    """
    fitted = fit_temperature(logits, truth, head, labels) if decision.temperature else Fitted(1.0)
    if positive_label is None:
        return Decided(fitted.temperature, _HALF, "fixed", fitted.note)
    probabilities = head.probabilities(logits, labels, fitted.temperature)
    positive = labels.index(positive_label)
    chosen = choose_threshold(decision, truth == positive, probabilities[:, positive])
    note = " ".join(filter(None, (fitted.note, chosen.note)))
    return Decided(fitted.temperature, chosen.threshold, chosen.rule, note)


def fit_temperature(
    logits: NDArray[np.floating], truth: NDArray[np.integer], head: Head, labels: tuple[str, ...]
) -> Fitted:
    """Fits the temperature that makes probabilities mean what they say (Guo et al. 2017).

    It is the one with the lowest mean negative log-likelihood, through the head itself, since the
    sigmoids of ``normalised_sigmoid`` do not calibrate like a softmax. It changes no label.

    Args:
        logits: float (n, outputs).
        truth: int (n,), index of each image's label.
        head: Of the model.
        labels: In the order of the model's classes.

    Returns:
        A temperature from ``COLDEST`` to ``HOTTEST``; 1 with a note where there is none: no image,
        images of one label only, every image right (the colder, the better, without an end), or
        answers that know so little that the best is at an end of the range.
    """
    from scipy.optimize import minimize_scalar

    if head.kind == "probabilities":
        return Fitted(1.0, "No temperature was fitted: the model ends in probabilities.")
    present = np.unique(truth)
    if present.size < 2:
        return Fitted(
            1.0, "No temperature was fitted: the validation images are not of two labels or more."
        )
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        probabilities = head.probabilities(logits, labels, float(np.exp(log_temperature)))
        return -float(np.log(np.maximum(probabilities[rows, truth], _SMALLEST)).mean())

    at_one = head.probabilities(logits, labels)
    if (at_one.argmax(axis=1) == truth).all():
        return Fitted(1.0, "No temperature was fitted: every validation image is right.")
    ends = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-4})
    best = float(found.x)
    if min(best - ends[0], ends[1] - best) < 1e-2:
        return Fitted(
            1.0,
            f"No temperature was fitted: none between {COLDEST:g} and {HOTTEST:g} suits the "
            "validation images; look at their accuracy.",
        )
    return Fitted(float(np.exp(best)) if loss(best) < loss(0.0) else 1.0)


def choose_threshold(
    decision: Decision, is_positive: NDArray[np.bool_], score: NDArray[np.floating]
) -> Chosen:
    """Chooses the threshold on validation images.

    It lies half-way between two scores that were seen, so that the smallest rounding does not
    move an image across. Of thresholds that are equally good by the rule, it is the one that finds
    more positives.

    Args:
        decision: The rule; see ``Decision``.
        is_positive: bool (n,), whether an image shows the positive label.
        score: float (n,), the positive label's calibrated probability, 0-1.

    Returns:
        The threshold, 0-1; 0.5 with a note where there is no image of one of the classes, or where
        no threshold tells them apart.

    Raises:
        UsageError: The fixed threshold or the wanted sensitivity is not between 0 and 1.
    """
    _check(decision)
    if decision.rule == "fixed":
        return Chosen(decision.threshold, "fixed")
    if is_positive.all() or not is_positive.any():
        return Chosen(
            _HALF, "fixed", "The threshold stays at 0.5: the validation images are of one class."
        )
    thresholds, sensitivity, specificity = _candidates(is_positive, score)
    if decision.rule == "youden":
        index = sensitivity + specificity - 1  # Youden 1950, "Index for rating diagnostic tests"
        best = _best(index, sensitivity)
        if index[best] <= _ROUNDING:
            return Chosen(
                _HALF,
                "fixed",
                "The threshold stays at 0.5: none tells the classes of the validation images apart "
                "better than chance.",
            )
        return Chosen(float(thresholds[best]), "youden")
    allowed = sensitivity >= decision.sensitivity - _ROUNDING
    best = _best(np.where(allowed, specificity, -1.0), sensitivity)
    note = ""
    if specificity[best] <= _ROUNDING:
        note = (
            f"A sensitivity of {decision.sensitivity:g} is reached only where every validation "
            "image counts as positive: the threshold decides nothing."
        )
    return Chosen(float(thresholds[best]), f"sensitivity >= {decision.sensitivity:g}", note)


_ROUNDING: Final = 1e-12


def _check(decision: Decision) -> None:
    for name, value in (
        ("threshold", decision.threshold),
        ("sensitivity", decision.sensitivity),
    ):
        if not 0 <= value <= 1:
            raise UsageError(f"decision.{name} is {value}; expected 0 to 1.")


def _candidates(
    is_positive: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds with their sensitivity and specificity, from the highest; the last is 0."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, scores = roc_curve(is_positive, score, drop_intermediate=False)
    scores = np.append(scores[1:], 0.0)  # the first stands for "nothing is positive"
    below = (scores[:-1] + scores[1:]) / 2
    below[-1] = 0.0  # from where on everything is positive
    # A half-way point between neighbours in floating point is one of the two: the upper one holds.
    thresholds = np.where(below > scores[1:], below, scores[:-1])
    thresholds[-1] = 0.0
    return thresholds, true_positive[1:], 1 - false_positive[1:]


def _best(value: NDArray[np.float64], sensitivity: NDArray[np.float64]) -> int:
    """Where the value is highest, and of those the sensitivity."""
    highest = np.flatnonzero(value >= value.max() - _ROUNDING)
    return int(highest[np.argmax(sensitivity[highest])])
