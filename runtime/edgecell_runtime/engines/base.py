"""The seam between edgecell and an inference library: ``open`` a model, ``run`` it."""

import abc
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import EngineError
from edgecell_runtime.manifest import Format
from edgecell_runtime.records import dataclass
from edgecell_runtime.signature import DType, QuantizationParams, Signature, TensorSpec

LAYOUTS = {2: "NC", 4: "NHWC", 5: "NDHWC"}
"""Layout by rank, for engines whose files do not write it down."""


def describe_tensor(
    name: str,
    dtype: str,
    shape: tuple[int | None, ...],
    quantization: QuantizationParams | None = None,
) -> TensorSpec:
    """Describes an input or output as an engine states it.

    Raises:
        EngineError: It is of a type or rank that no classifier has.
    """
    if dtype not in get_args(DType) or len(shape) not in LAYOUTS:
        raise EngineError(
            f"The model's tensor {name} is of the type {dtype} and the shape {shape}; expected one "
            f"of {', '.join(get_args(DType))} with {', '.join(map(str, LAYOUTS))} dimensions."
        )
    return TensorSpec(name, cast(DType, dtype), shape, LAYOUTS[len(shape)], quantization)


class Session(abc.ABC):
    """A loaded model. Not thread-safe: one caller at a time.

    Attributes:
        signature: Inputs and outputs as the engine states them.
    """

    signature: Signature

    @abc.abstractmethod
    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        """Runs the graph once.

        Args:
            inputs: One array an input, of its dtype and shape.

        Returns:
            One array an output, owned by the caller.

        Raises:
            EngineError: The engine failed.
        """

    def run_together(
        self,
        inputs: Sequence[NDArray[np.generic]],  # noqa: ARG002 - for engines that can
    ) -> tuple[NDArray[np.generic], ...]:
        """Runs more images at once than the signature's batch, where the engine can.

        A graph may have been written for one image alone; whoever calls this makes sure that the
        answers are those of ``run``.

        Raises:
            EngineError: The engine cannot, or failed.
        """
        raise EngineError("The engine runs batches of the signature's size only.")

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the model; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Engine:
    """An adapter to an inference library.

    Attributes:
        name: As shown and chosen.
        formats: What it runs.
        extra: The extra of edgecell that installs it.
        module: The library's module, imported by ``open`` only.
        open: Loads a model file's bytes with a number of threads.
    """

    name: str
    formats: tuple[Format, ...]
    extra: str
    module: str
    open: Callable[[bytes, int], Session]
