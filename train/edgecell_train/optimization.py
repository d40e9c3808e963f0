"""What moves the weights, how fast, and what holds them back."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.config import ClassWeights, Optimizer, Regularization, TrainConfig
from edgecell_train.config_checks import check
from edgecell_train.presets.base import KerasModel

__all__ = [
    "apply_regularization",
    "check",
    "class_weights",
    "learning_rates",
    "optimizer",
    "training_bytes",
]

KerasOptimizer = Any
"""``keras.optimizers.Optimizer``; Keras ships no types that mypy can follow."""

_NOT_DECAYED: Final = ("bias", "beta", "gamma")
"""Weight decay is for kernels; these shift and scale."""

_KERNELS: Final = ("kernel", "depthwise_kernel", "pointwise_kernel")

_SLOTS: Final = {"adam": 2, "adamw": 2, "sgd": 0, "rmsprop": 1, "adadelta": 2}
"""Variables that each optimiser keeps for every trained one; momentum is one more."""

_FLOAT_BYTES: Final = 4


@dataclass(frozen=True)
class TrainingBytes:
    """What a training writes.

    Attributes:
        state: Of one state: the weights, those that are kept, the optimiser's variables.
        model: Of the finished model.
    """

    state: int
    model: int


def optimizer(config: TrainConfig, steps_an_epoch: int) -> KerasOptimizer:
    """Makes the optimiser, with its schedule in it.

    Under the schedules ``constant`` without a warm-up and ``plateau``, ``learning_rate`` of the
    optimiser is a variable that a callback can set; under the others it follows from the number
    of steps so far, which the optimiser keeps with its state. Weight decay is decoupled: each step
    takes it, times the learning rate, off every kernel (Loshchilov and Hutter 2019); biases, and
    BatchNormalization's scales and shifts, are left alone.

    Args:
        config: Its ``optimizer``, ``schedule`` and ``epochs`` count.
        steps_an_epoch: Batches an epoch, the last and smaller one included.

    Returns:
        A Keras optimiser, not built.

    Raises:
        UsageError: The configuration makes no sense (see ``check``).
    """
    check(config)
    made = _made(import_keras(), config, _rate(config, steps_an_epoch))
    if config.optimizer.weight_decay:
        made.exclude_from_weight_decay(var_names=list(_NOT_DECAYED))
    return made


def learning_rates(config: TrainConfig, steps_an_epoch: int) -> NDArray[np.float64]:
    """The learning rate of every step of a training that is not stopped early.

    Under ``plateau``, whose steps follow from the validation, it is the rate before any of them.

    Args:
        config: Its ``optimizer``, ``schedule`` and ``epochs`` count.
        steps_an_epoch: Batches an epoch.

    Returns:
        float64 (epochs * steps_an_epoch,).

    Raises:
        UsageError: The configuration makes no sense (see ``check``).
    """
    check(config)
    schedule, height = config.schedule, config.optimizer.learning_rate
    steps = np.arange(config.epochs * steps_an_epoch, dtype=np.float64)
    warm = _warmup_steps(config, steps_an_epoch)
    rates = np.full(steps.shape, height)
    if schedule.kind == "cosine":
        rates *= (1 + np.cos(np.pi * (steps - warm) / (len(steps) - warm))) / 2
    elif schedule.kind == "step":
        rates *= schedule.factor ** (steps // (schedule.every * steps_an_epoch))
    return np.where(steps < warm, height * (steps + 1) / max(warm, 1), rates)


def apply_regularization(model: KerasModel, regularization: Regularization) -> None:
    """Sets a built model's dropout and the penalties on its kernels, before it is compiled.

    Dropout rates replace the model's own. Penalties come on top of the model's own, on kernels of
    dense and convolutional layers; Keras adds them to the loss, and to the validation loss too.
    They are no part of the model's configuration and do not travel with a saved model.

    Raises:
        UsageError: The model has no Dropout layer, or no kernel, to apply them to.
    """
    keras = import_keras()
    layers = list(_flattened(model))
    if regularization.dropout >= 0:
        _set_dropout(keras, layers, regularization.dropout)
    if regularization.l1 or regularization.l2:
        penalty = keras.regularizers.L1L2(regularization.l1, regularization.l2)
        kernels = [k for layer in layers for k in _kernels(layer)]
        if not kernels:
            raise UsageError(
                "regularization.l1 and .l2 are for kernels of dense and convolutional layers, and "
                "the model has none that is trained. Leave them out."
            )
        for kernel in kernels:
            kernel.regularizer = _both(kernel.regularizer, penalty)


def class_weights(truth: NDArray[np.int64], kind: ClassWeights) -> dict[int, float] | None:
    """How much each class counts in the loss.

    Args:
        truth: int (n,), index of each training image's label.
        kind: ``none``, or ``balanced``: n / (classes * images of the class), 1 on average over the
            images.

    Returns:
        The weight of each class that occurs, as ``class_weight`` of Keras's ``fit`` takes it; None
        for ``none``.
    """
    if kind == "none":
        return None
    from sklearn.utils.class_weight import compute_class_weight

    classes = np.unique(truth)
    weights = compute_class_weight(kind, classes=classes, y=truth)
    return {int(x): float(weight) for x, weight in zip(classes, weights, strict=True)}


def training_bytes(model: KerasModel, optimizer: Optimizer) -> TrainingBytes:
    """How much a training writes, from the number of the model's parameters, all of them float32.

    Names and a few numbers are left out: some kilobytes.

    Args:
        model: A built model.
        optimizer: What will move its weights.
    """
    weights = _parameters(model.weights)
    trained = _parameters(model.trainable_weights)
    slots = _SLOTS[optimizer.name] + bool(optimizer.momentum)
    return TrainingBytes(
        _FLOAT_BYTES * (2 * weights + slots * trained),
        _FLOAT_BYTES * weights,
    )


def _parameters(variables: list[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _made(keras: Any, config: TrainConfig, rate: Any) -> KerasOptimizer:
    options = config.optimizer
    common = {
        "learning_rate": rate,
        "weight_decay": options.weight_decay or None,
        "clipnorm": options.clip_norm or None,
        "clipvalue": options.clip_value or None,
    }
    match options.name:
        case "adam":
            return keras.optimizers.Adam(**common)
        case "adamw":
            return keras.optimizers.AdamW(**common)
        case "sgd":
            return keras.optimizers.SGD(momentum=options.momentum, **common)
        case "rmsprop":
            return keras.optimizers.RMSprop(momentum=options.momentum, **common)
        case "adadelta":
            return keras.optimizers.Adadelta(**common)


def _warmup_steps(config: TrainConfig, steps_an_epoch: int) -> int:
    return round(config.schedule.warmup_epochs * steps_an_epoch)


def _rate(config: TrainConfig, steps_an_epoch: int) -> Any:
    """A float, or Keras's schedule."""
    keras = import_keras()
    schedule, height = config.schedule, config.optimizer.learning_rate
    schedules = keras.optimizers.schedules
    warm = _warmup_steps(config, steps_an_epoch)
    match schedule.kind:
        case "plateau":
            return height
        case "constant":
            if not warm:
                return height
            after = _constant(height)
        case "cosine":
            after = schedules.CosineDecay(height, config.epochs * steps_an_epoch - warm)
        case "step":
            every = schedule.every * steps_an_epoch
            after = schedules.ExponentialDecay(height, every, schedule.factor, staircase=True)
    # A cosine starts where the warm-up ends; the epochs of ``step`` are counted from the first.
    return _warmed(keras, after, height, (warm, warm if schedule.kind == "cosine" else 0))


def _warmed(keras: Any, after: Any, height: float, steps: tuple[int, int]) -> Any:
    """A schedule that rises linearly for some steps, and then follows another from a step on."""
    warm, start = steps
    ops = keras.ops

    class Warmed(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """The first step has the first share of the rate: at 0 it would be a step for nothing."""

        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            rising = height * (step + 1) / max(warm, 1)
            return ops.where(step < warm, rising, after(ops.maximum(step - start, 0)))

        def get_config(self) -> dict[str, Any]:
            """For people: a schedule is made from the TrainConfig, and never from this."""
            return {"height": height, "warmup_steps": warm}

    return Warmed()


def _constant(rate: float) -> Any:
    return lambda step: rate + 0 * step


def _flattened(model: KerasModel) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flattened(layer)
        else:
            yield layer


def _set_dropout(keras: Any, layers: list[Any], rate: float) -> None:
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    if not dropouts:
        raise UsageError(
            f"regularization.dropout is {rate}, and the model has no Dropout layer to set it on. "
            "Leave it out, or take a model that has one."
        )
    for layer in dropouts:
        if layer.rate == 0 and rate > 0:
            raise UsageError(
                f"regularization.dropout is {rate}, and the Dropout layer {layer.name!r} was built "
                "with the rate 0, for good. Build it with a rate above 0."
            )
        layer.rate = rate


def _kernels(layer: Any) -> list[Any]:
    """Variables that multiply the layer's input; biases and normalisations have none."""
    found = [getattr(layer, name, None) for name in _KERNELS]
    return [kernel for kernel in found if kernel is not None and kernel.trainable]


def _both(first: Any, second: Any) -> Any:
    """The sum of two penalties, the first of which may be None."""
    if first is None:
        return second
    return lambda kernel: first(kernel) + second(kernel)
