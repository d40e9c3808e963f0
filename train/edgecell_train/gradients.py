"""Gradients of a number, on Keras's TensorFlow and JAX backends."""

import importlib
from collections.abc import Callable
from typing import Any

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError

Tensor = Any
"""Of Keras's backend."""


def gradient(score: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """The gradient of a number by a tensor, on the backend that Keras runs on.

    Args:
        score: Computes the number from the tensor, with ``keras.ops`` and Keras layers.
        values: The tensor.

    Raises:
        UsageError: It is another backend than TensorFlow and JAX.
    """
    backend = import_keras().backend.backend()
    if backend == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(values)
            number = score(values)
        return tape.gradient(number, values)
    if backend == "jax":
        return importlib.import_module("jax").grad(score)(values)
    raise UsageError(
        f"Gradients are taken on Keras's TensorFlow and JAX backends, this is {backend}; set "
        "KERAS_BACKEND to one of them."
    )
