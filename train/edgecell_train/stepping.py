"""One model and what Keras needs to train it: loss, optimiser, images, and everything random."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras, import_tensorflow
from edgecell_train import augmentation, feeding, optimization
from edgecell_train.config import TrainConfig
from edgecell_train.distilling import Teacher, lesson
from edgecell_train.feeding import LabelledPixels, Targets
from edgecell_train.labelling import Labelling
from edgecell_train.losses import loss_of
from edgecell_train.presets.base import KerasModel
from edgecell_train.variables import values_of

_REPORTS_AN_EPOCH: Final = 20
_SEED_STATE: Final = "seed_generator_state"
_AUGMENTATION, _ORDER, _LAYERS = 1, 2, 3

Report = Callable[[int, float], None]
"""Called with the steps done in the epoch, and the accuracy so far."""


class Trainer:
    """A model that is being trained."""

    def __init__(
        self,
        model: KerasModel,
        labelling: Labelling,
        config: TrainConfig,
        training: LabelledPixels,
        teachers: tuple[Teacher, ...] = (),
    ) -> None:
        """Compiles the model, with augmentation in front of it and teachers beside it.

        Args:
            model: Takes pixels; its weights are what is trained.
            labelling: What its outputs mean.
            config: How to train.
            training: The images.
            teachers: Whose answers it learns beside the labels.
        """
        self.model = model
        self.steps = -(-len(training) // config.batch_size)
        self._labelling = labelling
        self._config = config
        self._training = training
        self._targets = Targets(labelling.targets(training.truth), _weights(training.truth, config))
        self._on_device = feeding.keeps_images_on_device(training)
        optimization.apply_regularization(model, config.regularization)
        self._whole = feeding.training_model(
            model,
            augmentation.layer(config.augmentation, derived_seed(config.seed, _AUGMENTATION)),
            feeding.images_on_device(training) if self._on_device else None,
            lesson(teachers, labelling, config.distillation) if teachers else None,
        )
        self._whole.compile(
            optimizer=optimization.optimizer(config, self.steps),
            loss=loss_of(labelling.head.kind, config.regularization.label_smoothing),
            loss_weights=[1 - config.distillation.weight] if teachers else None,
            metrics=["accuracy"],
        )
        self.optimizer.build(self._whole.trainable_variables)

    @property
    def optimizer(self) -> Any:
        """The Keras optimiser."""
        return self._whole.optimizer

    def train_epoch(self, epoch: int, report: Report) -> tuple[float, float]:
        """Trains on every image once.

        The order of the images and all that layers draw follows from the seed and the epoch.

        Args:
            epoch: From 1 on.
            report: Follows the steps.

        Returns:
            Loss and accuracy, the means over the epoch.
        """
        self._reseed(epoch)
        seed = derived_seed(self._config.seed, _ORDER, epoch)
        order = np.random.default_rng(seed).permutation(len(self._training))
        callback = _reporting(self.steps, report)
        done = self._whole.fit(
            **self._fed(order), epochs=1, shuffle=False, verbose=0, callbacks=[callback]
        )
        return float(done.history["loss"][-1]), float(done.history["accuracy"][-1])

    def validate(self, part: LabelledPixels) -> tuple[float, float]:
        """Loss and accuracy of the plain model's answers."""
        return validate(self.model, self._labelling, part)

    def largest_weight(self) -> float:
        """The largest absolute value of a trained weight; no number where one is none."""
        ops = import_keras().ops
        largest = [ops.max(ops.abs(v.value)) for v in self.model.trainable_variables]
        return float(ops.convert_to_numpy(ops.max(ops.stack(largest))))

    def optimizer_state(self) -> list[NDArray[np.generic]]:
        """The optimiser's variables."""
        return values_of(self.optimizer.variables)

    def restore(
        self, weights: list[NDArray[np.generic]], optimizer: list[NDArray[np.generic]]
    ) -> None:
        """Puts the weights and the optimiser back to what they were.

        Raises:
            ValueError: They are those of another model or optimiser.
        """
        self.model.set_weights(weights)
        for variable, value in zip(self.optimizer.variables, optimizer, strict=True):
            variable.assign(value)

    def _fed(self, order: NDArray[np.int64]) -> dict[str, Any]:
        size, targets = self._config.batch_size, self._targets
        if not self._on_device:
            return {"x": feeding.batches(self._training, size, order, targets)}
        weights = None if targets.weights is None else targets.weights[order]
        places = order.astype(np.int32)
        return {
            "x": places,
            "y": targets.values[order],
            "sample_weight": weights,
            "batch_size": size,
        }

    def _reseed(self, epoch: int) -> None:
        import_keras().utils.set_random_seed(derived_seed(self._config.seed, _LAYERS, epoch))
        states = [v for v in self._whole.variables if v.path.endswith(_SEED_STATE)]
        for index, state in enumerate(states):
            seed = derived_seed(self._config.seed, _LAYERS, epoch, index)
            state.assign(np.array([seed, 0], dtype=np.int64).astype(state.dtype))


def validate(model: KerasModel, labelling: Labelling, part: LabelledPixels) -> tuple[float, float]:
    """Loss and accuracy of a model's answers, without smoothed labels or penalties."""
    answers = feeding.answers(model, part)
    loss = loss_of(labelling.head.kind)(labelling.targets(part.truth), answers)
    right = labelling.are_right(part.truth, answers)
    return float(import_keras().ops.convert_to_numpy(loss)), float(right.mean())


def derived_seed(*numbers: int) -> int:
    """A seed that follows from numbers, below 2**31; near ones give unlike seeds."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1)[0] >> 1)


def be_deterministic() -> None:
    """From here on, the same machine gives the same weights, bit for bit, whatever it costs.

    The only place where training speaks to TensorFlow. JAX on a CPU repeats itself already.
    """
    if import_keras().backend.backend() == "tensorflow":
        import_tensorflow().config.experimental.enable_op_determinism()


@contextlib.contextmanager
def mixed_precision(wanted: bool) -> Iterator[None]:
    """Lets layers that are made within compute in float16, where that is wanted."""
    if not wanted:
        yield
        return
    policies = import_keras().mixed_precision
    before = policies.dtype_policy()
    policies.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        policies.set_dtype_policy(before)


def _weights(truth: NDArray[np.int64], config: TrainConfig) -> NDArray[np.float32] | None:
    of_class = optimization.class_weights(truth, config.class_weights)
    if of_class is None:
        return None
    return np.array([of_class[int(label)] for label in truth], np.float32)


def _reporting(steps: int, report: Report) -> Any:
    """Reports some twenty times an epoch: each time waits for the device."""
    every = max(1, steps // _REPORTS_AN_EPOCH)

    class Reporting(import_keras().callbacks.Callback):  # type: ignore[misc]
        """Passes Keras's steps on."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if (batch + 1) % every == 0 or batch + 1 == steps:
                report(batch + 1, float(logs["accuracy"]))

    return Reporting()
