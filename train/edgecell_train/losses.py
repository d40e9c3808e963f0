"""The loss that belongs to each head."""

from typing import Any, Final

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_runtime.heads import HeadKind

_TINY: Final = 1e-30
"""Where all sigmoids of an image underflow, they are alike; without it 0 is divided by 0."""


def loss_of(head: HeadKind, label_smoothing: float = 0.0) -> Any:
    """The cross-entropy of the probabilities that a head gives, on every backend of Keras.

    Targets are one-hot, float (n, labels); for ``sigmoid`` float (n, 1), 1 where the image has the
    label that the output stands for. The model ends in the head's activation.

    Args:
        head: How the model's outputs become probabilities.
        label_smoothing: Share of each target that is spread over all labels (Szegedy et al. 2016),
            0 to below 1.

    Returns:
        A ``keras.losses.Loss``.

    Raises:
        UsageError: The share is out of range, or nothing can be trained on the head.
    """
    if not 0 <= label_smoothing < 1:
        raise UsageError(
            f"The label smoothing is {label_smoothing}; expected a share from 0 to below 1."
        )
    losses = import_keras().losses
    if head == "softmax":
        return losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    if head == "normalised_sigmoid":
        return _normalised_sigmoid(losses, label_smoothing)
    if head == "sigmoid":
        return losses.BinaryCrossentropy(label_smoothing=label_smoothing)
    raise UsageError(
        f"There is no loss for the head {head}; expected softmax, normalised_sigmoid or sigmoid."
    )


def _normalised_sigmoid(losses: Any, label_smoothing: float) -> Any:
    """Categorical cross-entropy of the sigmoids divided by their sum.

    Under TensorFlow Keras remembers the logits behind a sigmoid and would take their softmax
    instead, which is another function and not the head that turns outputs into probabilities.
    """

    class CategoricalCrossentropy(losses.CategoricalCrossentropy):  # type: ignore[misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return super().call(y_true, y_pred + _TINY)  # a new tensor, without its logits

    return CategoricalCrossentropy(label_smoothing=label_smoothing)
