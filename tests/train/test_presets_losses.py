"""The loss is the cross-entropy of the probabilities that the head gives."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell_export.source import source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import Head, HeadKind
from edgecell_train.losses import loss_of

HEADS = pytest.mark.parametrize("head", ["softmax", "normalised_sigmoid", "sigmoid"])
LABELS = ("first", "second", "third")


def make_model(head: HeadKind, labels: int) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(2)
    outputs = 1 if head == "sigmoid" else labels
    activation = "softmax" if head == "softmax" else "sigmoid"
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(outputs, activation=activation, kernel_initializer="normal"),
        ]
    )
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 0.04)
    return model


def targets_of(head: HeadKind, truth: NDArray[np.intp], labels: int) -> NDArray[np.float32]:
    if head == "sigmoid":
        return (truth == 1).astype(np.float32)[:, None]
    return np.eye(labels, dtype=np.float32)[truth]


@HEADS
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_loss_that_is_trained_is_the_cross_entropy_of_the_heads_probabilities(
    head: HeadKind, smoothing: float
) -> None:
    names = LABELS[:2] if head == "sigmoid" else LABELS
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 4, 4, 3)).astype(np.uint8)
    truth = rng.integers(0, len(names), 64)
    model = make_model(head, len(names))
    found_head = Head(head, "second" if head == "sigmoid" else None)
    probabilities = source_probabilities(model, pixels, found_head, names)
    smoothed = np.eye(len(names))[truth] * (1 - smoothing) + smoothing / len(names)
    expected = -(smoothed * np.log(probabilities)).sum(axis=1).mean()
    model.compile("sgd", loss_of(head, smoothing))
    targets = targets_of(head, truth, len(names))
    found = model.evaluate(pixels.astype(np.float32), targets, verbose=0)
    assert found == pytest.approx(expected, rel=1e-4)
    first_step = model.train_on_batch(pixels.astype(np.float32), targets)
    assert first_step == pytest.approx(expected, rel=1e-4)


def test_loss_is_a_number_when_every_sigmoid_underflows() -> None:
    ops = import_keras().ops
    loss = loss_of("normalised_sigmoid")(np.eye(2, dtype=np.float32), ops.zeros((2, 2)))
    assert float(ops.convert_to_numpy(loss)) == pytest.approx(np.log(2))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_loss_is_refused_when_the_smoothing_is_no_share(smoothing: float) -> None:
    with pytest.raises(UsageError, match=r"label smoothing is .*; expected a share from 0"):
        loss_of("softmax", smoothing)


def test_loss_is_refused_for_a_head_that_nothing_is_trained_on() -> None:
    with pytest.raises(UsageError, match="no loss for the head probabilities"):
        loss_of("probabilities", 0.0)
