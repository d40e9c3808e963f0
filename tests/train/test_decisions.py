"""The temperature and the threshold that validation answers call for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecell_export.source import logits_of_outputs
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head
from edgecell_train.config import Decision
from edgecell_train.decisions import (
    choose_threshold,
    decide,
    fit_temperature,
)

LABELS = ("a", "b")
HEADS = [
    pytest.param(Head("softmax"), id="softmax"),
    pytest.param(Head("normalised_sigmoid"), id="normalised sigmoid"),
    pytest.param(Head("sigmoid", "b"), id="sigmoid"),
]

# (is positive, score in tenths, so that ties are common)
scored = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=40)


def _answers(head: Head, temperature: float, n: int = 4000) -> tuple[NDArray[np.int64], NDArray]:
    """Truth drawn as the head says at the temperature, and the logits that are too sure by it."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (n, head.output_count(LABELS)))
    probabilities = head.probabilities(logits, LABELS)
    truth = (random.random(n) < probabilities[:, 1]).astype(np.int64)
    return truth, logits * temperature


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_comes_back_when_answers_are_too_sure_or_too_modest_by_it(
    head: Head, temperature: float
) -> None:
    truth, logits = _answers(head, temperature)
    fitted = fit_temperature(logits, truth, head, LABELS)
    assert fitted.temperature == pytest.approx(temperature, rel=0.12)
    assert fitted.note == ""


@pytest.mark.parametrize("head", HEADS)
def test_temperature_has_the_lowest_loss_of_all(head: Head) -> None:
    truth, logits = _answers(head, 2.0, n=300)
    found = fit_temperature(logits, truth, head, LABELS).temperature

    def loss(temperature: float) -> float:
        answers = head.probabilities(logits, LABELS, temperature)
        of_truth = answers[np.arange(len(truth)), truth]
        return -float(np.log(np.maximum(of_truth, 1e-300)).mean())

    grid = np.exp(np.linspace(np.log(0.06), np.log(19), 60))
    assert loss(found) <= min(map(loss, grid)) + 1e-9


@pytest.mark.parametrize("head", HEADS)
def test_temperature_changes_no_label(head: Head) -> None:
    truth, logits = _answers(head, 3.0, n=200)
    fitted = fit_temperature(logits, truth, head, LABELS)
    before, after = (head.probabilities(logits, LABELS, t) for t in (1.0, fitted.temperature))
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_temperature_is_1_with_a_reason_when_every_image_is_right() -> None:
    fitted = fit_temperature(
        np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([0, 1]), Head("softmax"), LABELS
    )
    assert fitted.temperature == 1
    assert "every validation image is right" in fitted.note


@pytest.mark.parametrize("truth", [[], [1, 1]])
def test_temperature_is_1_with_a_reason_when_there_is_one_class_or_none(truth: list[int]) -> None:
    logits = np.zeros((len(truth), 2))
    fitted = fit_temperature(logits, np.array(truth, np.int64), Head("softmax"), LABELS)
    assert fitted.temperature == 1
    assert "not of two labels" in fitted.note


def test_temperature_is_1_with_a_reason_when_answers_know_nothing() -> None:
    truth, logits = _answers(Head("softmax"), 1.0)
    fitted = fit_temperature(-logits, truth, Head("softmax"), LABELS)  # always the other label
    assert fitted.temperature == 1
    assert "none between 0.05 and 20" in fitted.note


def test_temperature_is_1_with_a_reason_when_the_model_ends_in_probabilities() -> None:
    fitted = fit_temperature(np.full((2, 2), 0.5), np.array([0, 1]), Head("probabilities"), LABELS)
    assert fitted.temperature == 1
    assert "ends in probabilities" in fitted.note


@pytest.mark.parametrize("head", HEADS)
def test_logits_of_a_models_outputs_give_its_probabilities_back(head: Head) -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 4, (50, head.output_count(LABELS)))
    outputs = 1 / (1 + np.exp(-logits))
    if head.kind == "softmax":
        outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = head.probabilities(logits, LABELS)
    found = head.probabilities(logits_of_outputs(outputs.astype(np.float32), head), LABELS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_logits_are_finite_when_outputs_are_saturated(head: Head) -> None:
    outputs = np.array([[0.0], [1.0]]).repeat(head.output_count(LABELS), axis=1)
    logits = logits_of_outputs(outputs, head)
    assert np.isfinite(logits).all()
    assert (logits[1] > 10 + logits[0]).all() or head.kind == "softmax"


def _figures(
    positive: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> tuple[float, float]:
    decided = score >= threshold
    return float(decided[positive].mean()), float((~decided[~positive]).mean())


def _columns(drawn: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive, tenths = (np.array(column) for column in zip(*drawn, strict=True))
    return positive.astype(np.bool_), tenths / 10


@settings(deadline=None)
@given(scored)
def test_youden_threshold_is_the_best_of_all_thresholds(drawn: list[tuple[bool, int]]) -> None:
    positive, score = _columns(drawn)
    if positive.all() or not positive.any():
        return
    chosen = choose_threshold(Decision("youden"), positive, score)
    best = max(sum(_figures(positive, score, t)) for t in np.linspace(0, 1, 101))
    if best <= 1 + 1e-9:
        assert (chosen.threshold, chosen.rule) == (0.5, "fixed")
        assert "better than chance" in chosen.note
    else:
        assert sum(_figures(positive, score, chosen.threshold)) == pytest.approx(best)
        assert (chosen.rule, chosen.note) == ("youden", "")


@settings(deadline=None)
@given(scored, st.sampled_from([0.1, 0.5, 0.8, 0.95, 1.0]))
def test_sensitivity_rule_gives_the_highest_specificity_that_reaches_it(
    drawn: list[tuple[bool, int]], wanted: float
) -> None:
    positive, score = _columns(drawn)
    if positive.all() or not positive.any():
        return
    chosen = choose_threshold(Decision("sensitivity", sensitivity=wanted), positive, score)
    sensitivity, specificity = _figures(positive, score, chosen.threshold)
    reached = [_figures(positive, score, t) for t in np.linspace(0, 1, 101)]
    best = max(pair[1] for pair in reached if pair[0] >= wanted - 1e-12)
    assert sensitivity >= wanted - 1e-12
    assert specificity == pytest.approx(best)
    assert chosen.rule == f"sensitivity >= {wanted:g}"
    assert ("decides nothing" in chosen.note) == (specificity == 0)


def test_threshold_lies_half_way_between_the_classes_when_they_are_apart() -> None:
    positive, score = np.array([True, True, False]), np.array([0.9, 0.7, 0.1])
    for rule in ("youden", "sensitivity"):
        assert choose_threshold(Decision(rule), positive, score).threshold == pytest.approx(0.4)


def test_threshold_finds_more_positives_when_two_are_equally_good() -> None:
    # From 0.9 on: 1/2 and 1; from 0.5 on: 1 and 1/2.
    positive, score = np.array([True, False, True, False]), np.array([0.9, 0.6, 0.5, 0.1])
    assert choose_threshold(Decision("youden"), positive, score).threshold == pytest.approx(0.3)


def test_threshold_tells_neighbouring_numbers_apart() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))
    positive, score = np.array([True, False]), np.array([high, low])
    threshold = choose_threshold(Decision("youden"), positive, score).threshold
    assert _figures(positive, score, threshold) == (1.0, 1.0)


@pytest.mark.parametrize("positive", [True, False])
def test_threshold_is_a_half_with_a_reason_when_there_is_one_class(positive: bool) -> None:
    chosen = choose_threshold(Decision("youden"), np.array([positive] * 3), np.full(3, 0.2))
    assert (chosen.threshold, chosen.rule) == (0.5, "fixed")
    assert "of one class" in chosen.note


@pytest.mark.parametrize(
    "decision", [Decision("fixed", threshold=1.5), Decision("sensitivity", sensitivity=95)]
)
def test_wish_out_of_range_is_refused(decision: Decision) -> None:
    with pytest.raises(UsageError, match="expected 0 to 1"):
        choose_threshold(decision, np.array([True, False]), np.array([0.9, 0.1]))


def test_threshold_is_chosen_on_calibrated_probabilities() -> None:
    truth, logits = _answers(Head("softmax"), 4.0)
    decided = decide(Decision("sensitivity"), Head("softmax"), LABELS, "b", truth, logits)
    assert decided.temperature == pytest.approx(4, rel=0.12)
    calibrated = Head("softmax").probabilities(logits, LABELS, decided.temperature)[:, 1]
    expected = choose_threshold(Decision("sensitivity"), truth == 1, calibrated)
    assert (decided.threshold, decided.rule) == (expected.threshold, expected.rule)


def test_nothing_is_fitted_when_nothing_was_asked_for() -> None:
    truth, logits = _answers(Head("softmax"), 4.0, n=50)
    wish = Decision("fixed", threshold=0.7, temperature=False)
    decided = decide(wish, Head("softmax"), LABELS, "b", truth, logits)
    assert (decided.temperature, decided.threshold, decided.rule) == (1.0, 0.7, "fixed")
    assert decided.note == ""


def test_threshold_stays_at_a_half_when_there_is_no_positive_label() -> None:
    truth, logits = _answers(Head("softmax"), 2.0)
    decided = decide(Decision("youden"), Head("softmax"), LABELS, None, truth, logits)
    assert (decided.threshold, decided.rule) == (0.5, "fixed")
    assert decided.temperature == pytest.approx(2, rel=0.12)
