"""A Keras layer that preparation has no node for: carried along as it is."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.output_capture import converter_output
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError

Array = NDArray[np.floating]
KerasTensor = Any


@dataclass(frozen=True, eq=False)
class KerasLayer:
    """A layer by its configuration and weights, so that it can be sent to another process.

    Attributes:
        name: Of the layer.
        config: As ``keras.saving.serialize_keras_object`` describes it, as JSON.
        weights: In Keras's order.
        joins: Whether it takes a list of tensors.
        module: That defines its class, where that is not Keras; it is imported before the layer is
            made again.
    """

    name: str
    config: str
    weights: tuple[NDArray[np.generic], ...] = ()
    joins: bool = False
    module: str = ""

    @staticmethod
    def describe(layer: Any, *, joins: bool = False) -> "KerasLayer":
        """Describes a layer of a model.

        Raises:
            PreparationError: It cannot be described, such as a ``Lambda``.
        """
        try:
            config = json.dumps(import_keras().saving.serialize_keras_object(layer))
        except Exception as error:
            raise PreparationError(_unknown(layer.name, error)) from error
        weights = tuple(np.asarray(weight) for weight in layer.weights)
        module = type(layer).__module__
        own = "" if module.partition(".")[0] == "keras" else module
        described = KerasLayer(layer.name, config, weights, joins, own)
        described.create("float32")  # what cannot be made again is refused now
        return described

    @property
    def only_reshapes(self) -> bool:
        """Whether it gives each number back as it is, and in the same order."""
        return not self.module and json.loads(self.config)["class_name"] == "Reshape"

    def create(self, dtype: str) -> Any:
        """Makes the layer again, not built yet, to compute in a dtype."""
        described = json.loads(self.config)
        described["config"]["dtype"] = dtype
        keras = import_keras()
        try:
            if self.module:
                importlib.import_module(self.module)
            return keras.saving.deserialize_keras_object(described)
        except Exception as error:  # Keras raises of every kind
            raise PreparationError(_unknown(self.name, error, self.module)) from error

    def call(self, layer: Any, tensors: KerasTensor) -> KerasTensor:
        """Calls a created layer for inference, and gives it its weights."""
        if self.weights:
            if not layer.built:
                layer(tensors, training=False)
            # Keras may have built it from its configuration, with weights of its own.
            layer.set_weights(self.weights)
        return layer(tensors, training=False)

    def apply(self, x: Array) -> Array:
        """Computes the layer in float64 on (n, ...)."""
        return self.apply_to([x])

    def apply_to(self, tensors: Sequence[Array]) -> Array:
        """Computes the layer in float64 on one or more inputs."""
        taken = list(tensors) if self.joins else tensors[0]
        with converter_output():  # TensorFlow announces itself when it computes first
            return np.asarray(self.call(self._float64, taken), np.float64)

    @cached_property
    def _float64(self) -> Any:
        return self.create("float64")

    def __getstate__(self) -> dict[str, object]:
        """Leaves out the created layer."""
        return {key: value for key, value in self.__dict__.items() if key != "_float64"}


def _unknown(name: str, error: Exception, module: str = "") -> str:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    where = (
        f" Its class is from {module}, which the process that converts has to be able to import; "
        "give Exporter the runner ConvertHere() where it cannot."
        if module
        else ""
    )
    return (
        f"The layer {name} cannot be made again from its configuration: {said}. Expected a layer "
        "of Keras, or a class registered with keras.saving.register_keras_serializable; a Lambda "
        f"is neither.{where}"
    )
