"""What goes into a graph and what comes out: names, shapes, dtypes, quantisation."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.records import dataclass

DType = Literal["uint8", "int8", "int16", "float16", "float32"]

LARGEST_SCALE = 1e30
"""A step times this is a number still."""
LARGEST_ZERO_POINT = 1 << 15


@dataclass(frozen=True)
class QuantizationParams:
    """Affine quantisation of a tensor: ``real = (q - zero_point) * scale``."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"a scale is above zero, this one is {self.scale}.")
        if not self.scale <= LARGEST_SCALE or not abs(self.zero_point) <= LARGEST_ZERO_POINT:
            raise ValueError(
                f"a scale is at most {LARGEST_SCALE:g} and a zero point at most "
                f"{LARGEST_ZERO_POINT}, these are out of all range."
            )


PIXELS = QuantizationParams(float(np.float32(1 / 255)), 0)
"""Of a quantised image input: uint8 pixels as they are stand for 0 to 1."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: The name that the engine knows it by.
        dtype: Element type.
        shape: Sizes; None where any size is accepted (the batch).
        layout: One letter a dimension: N batch, H height, W width, C channels or classes.
        quantization: Scale and zero point where the tensor is quantised, else None.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    layout: str
    quantization: QuantizationParams | None = None

    def __post_init__(self) -> None:
        if len(self.layout) != len(self.shape):
            raise ValueError(f"layout {self.layout!r} does not fit the shape {self.shape}.")
        if self.quantization is not None and self.dtype.startswith("float"):
            raise ValueError(f"a {self.dtype} tensor is not quantised.")

    def accepts(self, array: NDArray[np.generic]) -> bool:
        """Whether an array is of this dtype and shape."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(
                wanted in (None, size) for size, wanted in zip(array.shape, self.shape, strict=True)
            )
        )


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of a graph, in the engine's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def quantize(
    real: NDArray[np.float32] | NDArray[np.float64], params: QuantizationParams, dtype: DType
) -> NDArray[np.generic]:
    """Real values to integers: divide, round half to even, then clip to the dtype's range.

    Clipping comes last, so that a value out of range becomes the nearest end and never wraps.
    """
    limits = np.iinfo(dtype)
    steps = np.rint(np.asarray(real, dtype=np.float64) / params.scale) + params.zero_point
    clipped: NDArray[np.generic] = np.clip(steps, limits.min, limits.max).astype(dtype)
    return clipped


def dequantize(values: NDArray[np.generic], params: QuantizationParams) -> NDArray[np.float64]:
    """Integers to real values, ``(q - zero_point) * scale``, float64."""
    return (values.astype(np.float64) - params.zero_point) * params.scale


def encode_pixels(pixels: NDArray[np.uint8], spec: TensorSpec) -> NDArray[np.generic]:
    """Puts pixels into the form that an input tensor takes.

    A float input takes pixels as they are, 0 to 255; its graph holds the normalisation. A quantised
    input stands for ``pixels / 255``, so that the usual scale of 1/255 with zero point 0 takes the
    pixels unchanged.

    Args:
        pixels: uint8, shape ``spec.shape`` with the batch filled in, 0-255.
        spec: The input.

    Returns:
        An array of the same shape and of dtype ``spec.dtype``; for a plain uint8 input, and for one
        with scale 1/255 and zero point 0, ``pixels`` itself.

    Raises:
        ValueError: The input is int8 and has no scale, so that pixels above 127 do not fit.
    """
    params = spec.quantization
    if params is None:
        if spec.dtype == "int8":
            raise ValueError("an int8 input without a scale takes no pixels: 128-255 would wrap.")
        return pixels.astype(spec.dtype, copy=False)
    if spec.dtype == "uint8" and params == PIXELS:
        return pixels
    return quantize(pixels.astype(np.float64) / 255, params, spec.dtype)
