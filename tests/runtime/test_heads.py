import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edgecell_runtime.heads import Head, HeadKind

LABELS = ("Parasitized", "Uninfected")


def head_of(kind: HeadKind) -> Head:
    return Head(kind, "Parasitized" if kind == "sigmoid" else None)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


LOGITS = np.array([[0.3, -1.2], [4.0, 5.0], [0.0, 0.0]])


def test_softmax_is_the_exponentials_share() -> None:
    exponentials = np.exp(LOGITS)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert np.allclose(Head("softmax").probabilities(LOGITS, LABELS), expected, atol=1e-15)


def test_normalised_sigmoid_is_the_sigmoids_share() -> None:
    each = sigmoid(LOGITS)
    expected = each / each.sum(axis=1, keepdims=True)
    found = Head("normalised_sigmoid").probabilities(LOGITS, LABELS)
    assert np.allclose(found, expected, atol=1e-15)


@pytest.mark.parametrize("label", LABELS)
def test_sigmoid_is_the_probability_of_its_label(label: str) -> None:
    found = Head("sigmoid", label).probabilities(LOGITS[:, :1], LABELS)
    assert np.allclose(found[:, LABELS.index(label)], sigmoid(LOGITS[:, 0]), atol=1e-15)


def test_temperature_divides_the_logits() -> None:
    head = Head("normalised_sigmoid")
    warm = head.probabilities(LOGITS, LABELS, temperature=2.5)
    assert np.array_equal(warm, head.probabilities(LOGITS / 2.5, LABELS))


@pytest.mark.parametrize("kind", ["softmax", "normalised_sigmoid", "sigmoid"])
def test_probabilities_are_float64_when_logits_are_float32(kind: HeadKind) -> None:
    head = head_of(kind)
    logits = np.zeros((1, head.output_count(LABELS)), np.float32)
    assert head.probabilities(logits, LABELS).dtype == np.float64


@pytest.mark.parametrize("kind", ["softmax", "normalised_sigmoid", "sigmoid"])
@given(data=st.data())
def test_rows_are_finite_and_sum_to_one_whatever_the_logits(
    kind: HeadKind, data: st.DataObject
) -> None:
    head = head_of(kind)
    shape = (3, head.output_count(LABELS))
    logits = data.draw(npst.arrays(np.float64, shape, elements=st.floats(-1e30, 1e30)))
    probabilities = head.probabilities(logits, LABELS)
    assert probabilities.shape == (3, 2)
    assert (probabilities >= 0).all()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_normalised_sigmoid_tells_labels_apart_when_every_sigmoid_underflows() -> None:
    found = Head("normalised_sigmoid").probabilities(np.array([[-1000.0, -1001.0]]), LABELS)
    assert found[0, 0] == pytest.approx(np.e / (1 + np.e), abs=1e-12)


def test_probabilities_of_a_graph_that_ends_in_them_lose_only_their_rounding() -> None:
    given = np.array([[0.25, 0.75], [0.5000001, 0.5]], np.float32)
    found = Head("probabilities").probabilities(given, LABELS, temperature=2.5)
    assert np.allclose(found, given, atol=1e-6)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-15)
    assert Head("probabilities").output_count(LABELS) == 2


def test_probabilities_that_all_are_zero_are_shared_out() -> None:
    assert Head("probabilities").probabilities(np.zeros((1, 2)), LABELS).tolist() == [[0.5, 0.5]]


def test_output_count_is_one_when_the_head_is_a_sigmoid() -> None:
    assert head_of("sigmoid").output_count(LABELS) == 1
    assert head_of("softmax").output_count(("a", "b", "c")) == 3


@pytest.mark.parametrize(("kind", "label"), [("softmax", "a"), ("sigmoid", None)])
def test_head_is_refused_when_its_label_does_not_belong(kind: HeadKind, label: str | None) -> None:
    with pytest.raises(ValueError, match="the sigmoid head, and no other, names the label"):
        Head(kind, label)
