"""Whether the numbers of a ``TrainConfig`` make sense, before anything slow begins."""

import math
from typing import Final, get_args

from edgecell_runtime.errors import UsageError
from edgecell_train.config import (
    Augmentation,
    ClassWeights,
    Decision,
    Distillation,
    Optimizer,
    OptimizerName,
    Quantization,
    Regularization,
    Schedule,
    ScheduleKind,
    SplitRule,
    Stopping,
    ThresholdRule,
    TrainConfig,
)

MAX_EPOCHS: Final = 100_000
"""No training of images has more; a slip of the finger would never end."""


def check(config: TrainConfig) -> None:
    """Checks all that can be said about a configuration without data and model.

    Raises:
        UsageError: An option has a value that it cannot have, or two contradict each other; the
            message names them as they stand in a TOML file (``optimizer.learning_rate``).
    """
    _check_run(config)
    _check_split(config)
    _check_optimizer(config.optimizer)
    _check_schedule(config.schedule, config.epochs)
    _check_regularization(config.regularization)
    _check_augmentation(config.augmentation)
    _check_distillation(config.distillation)
    _check_quantization(config.quantization)
    _check_stopping(config.stopping)
    _check_decision(config.decision)


def _check_run(config: TrainConfig) -> None:
    if not config.preset and not config.model:
        raise UsageError("There is nothing to train: give a preset or a model.")
    size = config.size
    if size and (len(size) not in (2, 3) or min(size) < 1):
        raise UsageError(
            f"size is {size}; it takes height and width (depth, height and width of volumes), each "
            "1 or more."
        )
    _require("seed", config.seed, 0 <= config.seed < 2**32, "0 to 4294967295")
    _require("epochs", config.epochs, config.epochs >= 1, "1 or more")
    _require("epochs", config.epochs, config.epochs <= MAX_EPOCHS, f"{MAX_EPOCHS:,} or less")
    _require("batch_size", config.batch_size, config.batch_size >= 1, "1 or more")
    _require("memory_mb", config.memory_mb, config.memory_mb >= 0, "0 or more")
    _one_of("class_weights", config.class_weights, get_args(ClassWeights))


def _check_split(config: TrainConfig) -> None:
    folds, fold = config.folds, config.fold
    _one_of("split", config.split, get_args(SplitRule))
    _require("folds", folds, folds == 0 or folds >= 2, "2 or more, or 0 for a single split")
    if fold and not folds:
        raise UsageError(f"fold is {fold}, and there are no folds. Set folds too, or leave it out.")
    if folds and config.refit:
        raise UsageError(
            "refit trains on all images at once, and folds deals them out; leave one of them out."
        )
    _require("fold", fold, 0 <= fold <= folds, f"1 to {folds}, which are the folds, or 0 for all")


def _check_optimizer(optimizer: Optimizer) -> None:
    _one_of("optimizer.name", optimizer.name, get_args(OptimizerName))
    rate = optimizer.learning_rate
    _require("optimizer.learning_rate", rate, 0 < rate < math.inf, "above 0")
    _require("optimizer.momentum", optimizer.momentum, 0 <= optimizer.momentum < 1, "0 to below 1")
    _at_least_0("optimizer.weight_decay", optimizer.weight_decay)
    _at_least_0("optimizer.clip_norm", optimizer.clip_norm)
    _at_least_0("optimizer.clip_value", optimizer.clip_value)
    if optimizer.momentum and optimizer.name not in ("sgd", "rmsprop"):
        raise UsageError(
            f"optimizer.momentum is {optimizer.momentum}, and {optimizer.name} has none of its "
            "own to set. Leave it out, or take sgd or rmsprop."
        )
    if optimizer.name == "adamw" and not optimizer.weight_decay:
        raise UsageError(
            "adamw is adam with weight decay, and optimizer.weight_decay is 0. Set it (0.004 is "
            "common), or take adam."
        )
    if optimizer.clip_norm and optimizer.clip_value:
        raise UsageError(
            f"optimizer.clip_norm is {optimizer.clip_norm} and optimizer.clip_value is "
            f"{optimizer.clip_value}; gradients are clipped one way. Leave one of them out."
        )


def _check_schedule(schedule: Schedule, epochs: int) -> None:
    _one_of("schedule.kind", schedule.kind, get_args(ScheduleKind))
    warmup = schedule.warmup_epochs
    _require("schedule.factor", schedule.factor, 0 < schedule.factor < 1, "above 0 and below 1")
    _require("schedule.every", schedule.every, schedule.every >= 1, "1 or more")
    _require("schedule.patience", schedule.patience, schedule.patience >= 1, "1 or more")
    _at_least_0("schedule.warmup_epochs", warmup)
    if warmup >= epochs:
        raise UsageError(
            f"schedule.warmup_epochs is {warmup}, and there are {epochs} epochs in all; the "
            "learning rate would never arrive. Warm up for fewer, or train for more epochs."
        )
    if schedule.kind == "plateau" and warmup:
        raise UsageError(
            f"schedule.warmup_epochs is {warmup}, and the schedule plateau has no warm-up. Leave "
            "it out, or take the schedule constant, cosine or step."
        )


def _check_regularization(regularization: Regularization) -> None:
    dropout, smoothing = regularization.dropout, regularization.label_smoothing
    _at_least_0("regularization.l1", regularization.l1)
    _at_least_0("regularization.l2", regularization.l2)
    _require("regularization.dropout", dropout, dropout < 1, "below 1")
    _require("regularization.label_smoothing", smoothing, 0 <= smoothing < 1, "0 to below 1")


def _check_augmentation(augmentation: Augmentation) -> None:
    for name in ("rotation", "hue"):
        degrees = getattr(augmentation, name)
        _require(f"augmentation.{name}", degrees, 0 <= degrees <= 180, "0 to 180 degrees")
    shear = augmentation.shear
    _require("augmentation.shear", shear, 0 <= shear <= 80, "0 to 80 degrees")
    for name in ("shift", "zoom", "brightness", "contrast", "stain"):
        share = getattr(augmentation, name)
        _require(f"augmentation.{name}", share, 0 <= share < 1, "a share, 0 to below 1")
    _at_least_0("augmentation.blur", augmentation.blur)
    noise = augmentation.noise
    _require("augmentation.noise", noise, 0 <= noise <= 255, "0 to 255 steps")


def _check_distillation(distillation: Distillation) -> None:
    weight, temperature = distillation.weight, distillation.temperature
    _require("distillation.weight", weight, 0 <= weight <= 1, "a share, 0 to 1")
    _require("distillation.temperature", temperature, 0 < temperature < math.inf, "above 0")


def _check_quantization(quantization: Quantization) -> None:
    epochs, rate = quantization.epochs, quantization.learning_rate
    _require("quantization.epochs", epochs, 0 <= epochs <= MAX_EPOCHS, f"0 to {MAX_EPOCHS:,}")
    _require("quantization.learning_rate", rate, 0 < rate < math.inf, "above 0")


def _check_stopping(stopping: Stopping) -> None:
    _require("stopping.patience", stopping.patience, stopping.patience >= 0, "0 or more")
    _one_of("stopping.keep", stopping.keep, ("best", "last"))


def _check_decision(decision: Decision) -> None:
    _one_of("decision.rule", decision.rule, get_args(ThresholdRule))
    threshold, sensitivity = decision.threshold, decision.sensitivity
    _require("decision.threshold", threshold, 0 <= threshold <= 1, "0 to 1")
    _require("decision.sensitivity", sensitivity, 0 < sensitivity <= 1, "above 0, up to 1")


def _at_least_0(option: str, value: float) -> None:
    _require(option, value, 0 <= value < math.inf, "0 or more")


def _require(option: str, value: float, holds: bool, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{option} is {value}; it takes {wanted}.")


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{option} is {value!r}; it takes {', '.join(choices)}.")
