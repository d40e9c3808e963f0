"""An engine without a library, for tests: a function stands for the graph."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError
from edgecell_runtime.signature import Signature, TensorSpec


class FakeSession(Session):
    """Answers with a function of the input.

    Args:
        signature: What it claims to take and give.
        answer: Input array, shape (n, height, width, channels), to output array, (n, outputs).
    """

    def __init__(
        self,
        signature: Signature,
        answer: Callable[[NDArray[np.generic]], NDArray[np.generic]],
    ) -> None:
        self.signature = signature
        self.calls = 0
        self._answer = answer
        self._closed = False

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        if self._closed:
            raise EngineError("The session is closed.")
        wanted = self.signature.inputs
        if len(inputs) != len(wanted) or not all(map(TensorSpec.accepts, wanted, inputs)):
            raise EngineError(
                "The inputs are of another number, dtype or shape than the signature."
            )
        self.calls += 1
        return (self._answer(inputs[0]).copy(),)

    def close(self) -> None:
        self._closed = True
