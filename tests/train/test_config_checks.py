"""What a configuration cannot say is refused by name, before anything slow."""

import math
from dataclasses import replace

import pytest

from edgecell_runtime.errors import UsageError
from edgecell_train.config import (
    SMALL_DATA,
    Augmentation,
    Decision,
    Optimizer,
    Regularization,
    Schedule,
    Stopping,
    TrainConfig,
)
from edgecell_train.config_checks import check

GOOD = TrainConfig()


def _optimizer(**changes: object) -> TrainConfig:
    return replace(GOOD, optimizer=replace(Optimizer(), **changes))  # type: ignore[arg-type]


def _schedule(**changes: object) -> TrainConfig:
    return replace(GOOD, schedule=replace(Schedule(), **changes))  # type: ignore[arg-type]


def _regularization(**changes: float) -> TrainConfig:
    return replace(GOOD, regularization=replace(Regularization(), **changes))


def _augmentation(**changes: float) -> TrainConfig:
    return replace(GOOD, augmentation=replace(Augmentation(), **changes))  # type: ignore[arg-type]


def _decision(**changes: object) -> TrainConfig:
    return replace(GOOD, decision=replace(Decision(), **changes))  # type: ignore[arg-type]


def _run(**changes: object) -> TrainConfig:
    return replace(GOOD, **changes)  # type: ignore[arg-type]


ALLOWED = {
    "the defaults": GOOD,
    "small data": _run(augmentation=SMALL_DATA),
    "a model": _run(preset="", model="net.keras"),
    "two sides": _run(size=(64, 48)),
    "three sides": _run(size=(16, 32, 32)),
    "the largest seed": _run(seed=2**32 - 1),
    "balanced": _run(class_weights="balanced"),
    "sgd with momentum": _optimizer(name="sgd", momentum=0.9),
    "rmsprop with momentum": _optimizer(name="rmsprop", momentum=0.9),
    "adamw with decay": _optimizer(name="adamw", weight_decay=0.004),
    "clip by norm": _optimizer(clip_norm=1.0),
    "clip by value": _optimizer(clip_value=0.5),
    "cosine": _schedule(kind="cosine", warmup_epochs=0.5),
    "plateau": _schedule(kind="plateau", factor=0.1, patience=1),
    "dropout of the model": _regularization(dropout=-1.0),
    "no dropout": _regularization(dropout=0.0),
    "half a turn": _augmentation(rotation=180.0, hue=180.0),
    "never stop early": _run(stopping=Stopping(patience=0, keep="last")),
    "full sensitivity": _decision(rule="sensitivity", sensitivity=1.0),
}


@pytest.mark.parametrize("config", ALLOWED.values(), ids=ALLOWED)
def test_configuration_is_allowed(config: TrainConfig) -> None:
    check(config)


REFUSED = [
    (_run(preset=""), "nothing to train"),
    (_run(size=(64,)), r"size is \(64,\)"),
    (_run(size=(64, 0)), r"size is \(64, 0\)"),
    (_run(seed=-1), "seed is -1; it takes 0 to 4294967295"),
    (_run(seed=2**32), "seed is 4294967296"),
    (_run(epochs=0), "epochs is 0; it takes 1 or more"),
    (_run(batch_size=0), "batch_size is 0"),
    (_run(memory_mb=-1), "memory_mb is -1"),
    (_run(class_weights="some"), "class_weights is 'some'; it takes none, balanced"),
    (_optimizer(name="lion"), "optimizer.name is 'lion'; it takes adam, adamw, sgd"),
    (_optimizer(learning_rate=0.0), "optimizer.learning_rate is 0.0; it takes above 0"),
    (_optimizer(learning_rate=-0.1), "optimizer.learning_rate is -0.1"),
    (_optimizer(learning_rate=math.nan), "optimizer.learning_rate is nan"),
    (_optimizer(learning_rate=math.inf), "optimizer.learning_rate is inf"),
    (_optimizer(name="sgd", momentum=1.0), "optimizer.momentum is 1.0"),
    (_optimizer(name="sgd", momentum=-0.1), "optimizer.momentum is -0.1"),
    (_optimizer(momentum=0.9), "momentum is 0.9, and adam has none .* sgd or rmsprop"),
    (_optimizer(name="adadelta", momentum=0.9), "adadelta has none"),
    (_optimizer(name="adamw"), "adamw is adam with weight decay, .* is 0"),
    (_optimizer(weight_decay=-1.0), "optimizer.weight_decay is -1.0"),
    (_optimizer(clip_norm=-1.0), "optimizer.clip_norm is -1.0"),
    (_optimizer(clip_value=-1.0), "optimizer.clip_value is -1.0"),
    (_optimizer(clip_norm=1.0, clip_value=2.0), "clip_norm is 1.0 and .*clip_value is 2.0"),
    (_schedule(kind="linear"), "schedule.kind is 'linear'; it takes constant, cosine"),
    (_schedule(factor=0.0), "schedule.factor is 0.0"),
    (_schedule(factor=1.0), "schedule.factor is 1.0; it takes above 0 and below 1"),
    (_schedule(every=0), "schedule.every is 0"),
    (_schedule(patience=0), "schedule.patience is 0"),
    (_schedule(warmup_epochs=-1.0), "schedule.warmup_epochs is -1.0"),
    (_schedule(warmup_epochs=10.0), "warmup_epochs is 10.0, and there are 10 epochs"),
    (_schedule(kind="plateau", warmup_epochs=1.0), "plateau has no warm-up"),
    (_regularization(l1=-0.1), "regularization.l1 is -0.1"),
    (_regularization(l2=math.inf), "regularization.l2 is inf"),
    (_regularization(dropout=1.0), "regularization.dropout is 1.0; it takes below 1"),
    (_regularization(label_smoothing=1.0), "regularization.label_smoothing is 1.0"),
    (_regularization(label_smoothing=-0.1), "regularization.label_smoothing is -0.1"),
    (_augmentation(rotation=181.0), "augmentation.rotation is 181.0"),
    (_augmentation(rotation=-1.0), "augmentation.rotation is -1.0"),
    (_augmentation(shift=1.0), "augmentation.shift is 1.0"),
    (_augmentation(zoom=1.0), "augmentation.zoom is 1.0"),
    (_augmentation(shear=90.0), "augmentation.shear is 90.0"),
    (_augmentation(brightness=1.5), "augmentation.brightness is 1.5; it takes a share"),
    (_augmentation(contrast=-0.1), "augmentation.contrast is -0.1"),
    (_augmentation(hue=200.0), "augmentation.hue is 200.0"),
    (_augmentation(stain=1.0), "augmentation.stain is 1.0"),
    (_augmentation(blur=-1.0), "augmentation.blur is -1.0"),
    (_augmentation(noise=256.0), "augmentation.noise is 256.0"),
    (_run(stopping=Stopping(patience=-1)), "stopping.patience is -1"),
    (_run(stopping=Stopping(keep="first")), "stopping.keep is 'first'; it takes best, last"),  # type: ignore[arg-type]
    (_decision(rule="guess"), "decision.rule is 'guess'; it takes fixed, youden"),
    (_decision(threshold=1.5), "decision.threshold is 1.5; it takes 0 to 1"),
    (_decision(sensitivity=0.0), "decision.sensitivity is 0.0"),
    (_decision(sensitivity=1.1), "decision.sensitivity is 1.1"),
]


@pytest.mark.parametrize(("config", "sentence"), REFUSED, ids=[case[1] for case in REFUSED])
def test_configuration_is_refused_by_the_options_name(config: TrainConfig, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check(config)
