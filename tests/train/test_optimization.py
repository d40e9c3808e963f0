"""Optimisers, learning rates and penalties are what the configuration says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError
from edgecell_train.config import Optimizer, OptimizerName, Regularization, Schedule, TrainConfig
from edgecell_train.optimization import (
    apply_regularization,
    class_weights,
    learning_rates,
    optimizer,
)

STEPS = 7
CONFIG = TrainConfig(epochs=6)


def net(*, dropout: float = 0.5) -> Any:
    """A small model with each kind of layer that has a kernel, one of them in a model inside."""
    keras = import_keras()
    layers = keras.layers
    inner = keras.Sequential(
        [layers.Input((4, 4, 2)), layers.DepthwiseConv2D(2), layers.Dropout(dropout)]
    )
    return keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L2(0.5)),
            layers.BatchNormalization(),
            inner,
            layers.SeparableConv2D(2, 2),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def array(tensor: Any) -> Any:
    return np.asarray(tensor)


@pytest.mark.parametrize("warmup", [0.0, 1.0, 1.5])
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(kind="constant"),
        Schedule(kind="cosine"),
        Schedule(kind="step", every=2, factor=0.1),
    ],
    ids=lambda schedule: schedule.kind,
)
def test_optimizer_has_the_rate_of_every_step(schedule: Schedule, warmup: float) -> None:
    config = replace(CONFIG, schedule=replace(schedule, warmup_epochs=warmup))
    rates = learning_rates(config, STEPS)
    assert rates.shape == (6 * STEPS,)
    assert rates.dtype == np.float64
    made = optimizer(config, STEPS)
    variable = import_keras().Variable(np.zeros(1, np.float32))
    made.build([variable])
    for rate in rates:
        assert float(array(made.learning_rate)) == pytest.approx(rate, rel=1e-5, abs=1e-9)
        made.apply([np.ones(1, np.float32)], [variable])


def test_learning_rates_fall_as_a_cosine_to_0_after_a_linear_rise() -> None:
    schedule = Schedule(kind="cosine", warmup_epochs=2)
    config = TrainConfig(epochs=6, schedule=schedule, optimizer=Optimizer(learning_rate=0.4))
    rates = learning_rates(config, 2)
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4])
    assert rates[4] == 0.4
    assert rates[8] == pytest.approx(0.2)
    assert 0 < rates[-1] < 0.02


def test_learning_rates_fall_by_the_factor_every_so_many_epochs() -> None:
    schedule = Schedule(kind="step", every=2, factor=0.5)
    config = TrainConfig(epochs=6, schedule=schedule, optimizer=Optimizer(learning_rate=0.4))
    np.testing.assert_allclose(learning_rates(config, 1), [0.4, 0.4, 0.2, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_rate_can_be_set_when_no_schedule_moves_it(kind: Any) -> None:
    made = optimizer(replace(CONFIG, schedule=Schedule(kind=kind)), STEPS)
    assert float(array(made.learning_rate)) == pytest.approx(1e-3)
    made.learning_rate = 0.5
    assert float(array(made.learning_rate)) == 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", "Adam"),
        ("adamw", "AdamW"),
        ("sgd", "SGD"),
        ("rmsprop", "RMSprop"),
        ("adadelta", "Adadelta"),
    ],
)
def test_optimizer_is_the_one_that_is_named(name: OptimizerName, expected: str) -> None:
    decay = 0.004 if name == "adamw" else 0.0
    config = replace(CONFIG, optimizer=Optimizer(name, learning_rate=0.25, weight_decay=decay))
    made = optimizer(config, STEPS)
    assert type(made) is getattr(import_keras().optimizers, expected)
    assert float(array(made.learning_rate)) == 0.25


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_is_passed_on(name: OptimizerName) -> None:
    assert optimizer(_with(Optimizer(name, momentum=0.9)), STEPS).momentum == 0.9


def test_gradients_are_clipped_each_by_its_norm() -> None:
    moved = _moves(Optimizer("sgd", learning_rate=1.0, clip_norm=1.0), [[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(moved, [[-0.6, -0.8], [-0.3, -0.4]], rtol=1e-5)


def test_gradients_are_clipped_by_value() -> None:
    moved = _moves(Optimizer("sgd", learning_rate=1.0, clip_value=1.0), [[3.0, -0.4]])
    np.testing.assert_allclose(moved, [[-1.0, 0.4]], rtol=1e-5)


def test_gradients_are_not_clipped_when_nobody_asks() -> None:
    moved = _moves(Optimizer("sgd", learning_rate=1.0), [[300.0, -400.0]])
    np.testing.assert_allclose(moved, [[-300.0, 400.0]], rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "adadelta"])
def test_weight_decay_shrinks_kernels_and_nothing_else(name: OptimizerName) -> None:
    model = net()
    made = optimizer(_with(Optimizer(name, learning_rate=0.5, weight_decay=0.1)), STEPS)
    weights = model.trainable_variables
    for weight in weights:
        weight.assign(np.ones(weight.shape))
    made.apply([np.zeros(weight.shape, np.float32) for weight in weights], weights)
    assert {weight.name for weight in weights} >= {"kernel", "bias", "gamma", "beta"}
    for weight in weights:
        expected = 0.95 if "kernel" in weight.name else 1.0
        np.testing.assert_allclose(array(weight), expected, rtol=1e-6, err_msg=weight.path)


def _with(options: Optimizer) -> TrainConfig:
    return replace(CONFIG, optimizer=options)


def _moves(options: Optimizer, gradients: list[list[float]]) -> list[Any]:
    """By how much one step moves variables with these gradients."""
    variables = [import_keras().Variable(np.zeros(2, np.float32)) for _ in gradients]
    optimizer(_with(options), STEPS).apply(
        [np.array(gradient, np.float32) for gradient in gradients], variables
    )
    return [array(variable) for variable in variables]


def test_nonsense_is_refused_before_an_optimizer_is_made() -> None:
    nonsense = _with(Optimizer(learning_rate=-1.0))
    with pytest.raises(UsageError, match=r"optimizer\.learning_rate"):
        optimizer(nonsense, STEPS)
    with pytest.raises(UsageError, match=r"optimizer\.learning_rate"):
        learning_rates(nonsense, STEPS)


def _penalties(model: Any) -> float:
    return float(sum(float(array(loss)) for loss in model.losses))


def test_penalties_are_added_to_the_kernels_on_top_of_the_models_own() -> None:
    model = net()
    own = _penalties(model)
    kernels = [array(w) for w in model.trainable_variables if "kernel" in w.name]
    assert len(kernels) == 5
    assert own == pytest.approx(0.5 * (kernels[0] ** 2).sum(), rel=1e-5)
    apply_regularization(model, Regularization(l1=0.01, l2=0.02))
    added = sum(0.01 * np.abs(k).sum() + 0.02 * (k**2).sum() for k in kernels)
    assert _penalties(model) == pytest.approx(own + added, rel=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_penalties_move_weights_in_training(jit: bool) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    apply_regularization(model, Regularization(l2=0.1))
    before = array(model.layers[0].kernel)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit)
    pixels, target = np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32)
    loss = model.fit(pixels, target, verbose=0).history["loss"][0]
    assert loss == pytest.approx(0.1 * (before**2).sum(), rel=1e-5)
    np.testing.assert_allclose(array(model.layers[0].kernel), before * 0.8, rtol=1e-5)


def test_penalties_count_inside_a_model_that_holds_the_model() -> None:
    keras = import_keras()
    model = net()
    apply_regularization(model, Regularization(l2=0.1))
    pixels = keras.Input((6, 6, 1))
    assert _penalties(keras.Model(pixels, model(pixels))) == pytest.approx(_penalties(model))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_penalties_do_not_travel_with_the_saved_model(tmp_path: Any) -> None:
    keras = import_keras()
    model = net()
    own = _penalties(model)
    apply_regularization(model, Regularization(l1=0.5))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert _penalties(loaded) == pytest.approx(own, rel=1e-5)


def test_penalty_is_refused_when_the_model_has_no_kernel() -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])
    with pytest.raises(UsageError, match=r"regularization.l1 and .l2 .* none that is trained"):
        apply_regularization(model, Regularization(l1=0.1))


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_dropout_is_set_in_every_dropout_layer(rate: float) -> None:
    model = net()
    apply_regularization(model, Regularization(dropout=rate))
    layers = [layer for layer in model._flatten_layers() if type(layer).__name__ == "Dropout"]
    assert [layer.rate for layer in layers] == [rate, rate]
    result = array(layers[0](np.ones((1, 10_000), np.float32), training=True))
    assert (result == 0).mean() == pytest.approx(rate, abs=0.02)


def test_regularization_leaves_the_model_alone_when_nothing_is_asked_for() -> None:
    model = net(dropout=0.25)
    own = _penalties(model)
    apply_regularization(model, Regularization())
    assert model.layers[4].rate == 0.25
    assert _penalties(model) == own


def test_dropout_is_refused_when_the_model_has_no_dropout_layer() -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(UsageError, match=r"dropout is 0.3, and the model has no Dropout layer"):
        apply_regularization(model, Regularization(dropout=0.3))


def test_dropout_is_refused_when_a_layer_was_built_without_any() -> None:
    with pytest.raises(UsageError, match="was built with the rate 0"):
        apply_regularization(net(dropout=0.0), Regularization(dropout=0.3))


def test_class_weights_are_balanced_over_the_images() -> None:
    truth = np.array([0, 0, 0, 2, 1, 1])
    weights = class_weights(truth, "balanced")
    assert weights == pytest.approx({0: 2 / 3, 1: 1.0, 2: 2.0})
    assert sum(weights[int(label)] for label in truth) == pytest.approx(len(truth))


def test_class_weights_are_none_when_nobody_asks() -> None:
    assert class_weights(np.array([0, 1]), "none") is None
