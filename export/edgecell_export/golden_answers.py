"""Golden answers: what an artifact's own engine says, and how far its kernels are from each other.

An engine has several sets of kernels, and which of them computes depends on the processor and the
library's version. What they differ by on this machine is what another engine may differ by.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import Kernels
from edgecell_runtime.errors import EngineError, ParityError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.manifest import Golden, Manifest
from edgecell_runtime.signature import encode_pixels

SAMPLE: Final = 64
"""Held-out images on which kernels are compared, beside the golden inputs."""

_LEAST_STEPS, _LEAST_DIFFERENCE = 1, 1e-3
"""Allowed in any case: processors round otherwise where these kernels happen to agree."""

_WILD_STEPS, _WILD_DIFFERENCE = 10, 0.1
"""Kernels that are further apart would give two devices two answers; steps are those of 8 bits."""


def golden_answers(
    kernels: Sequence[Kernels],
    manifest: Manifest,
    probabilities: tuple[tuple[float, ...], ...],
    sample: NDArray[np.uint8],
) -> Golden:
    """Runs the golden inputs, and compares the engine's kernels on them and on a sample.

    Args:
        kernels: The artifact's own first; those of the others that do not run it are left out.
        manifest: Of the artifact, for its signature and head.
        probabilities: The source model's answers to the golden inputs.
        sample: uint8 (n, height, width, channels), preprocessed, 0-255.

    Returns:
        What the manifest keeps.

    Raises:
        EngineError: The artifact's own kernels do not run it.
        ParityError: Kernels disagree wildly, or answer with values that are not numbers.
    """
    inputs = golden_inputs(FORMULA, manifest.preprocessing.shape)
    images = np.concatenate([inputs, sample])
    own, *others = kernels
    expected = _run(own, manifest, images)
    largest = _distance(manifest, expected, expected, own)
    for other in others:
        try:
            found = _run(other, manifest, inputs if other.slow else images)
        except EngineError:
            continue
        largest = max(largest, _distance(manifest, expected[: len(found)], found, other))
    outputs = tuple(map(tuple, expected[: len(inputs)].astype(np.float64).tolist()))
    if manifest.signature.outputs[0].quantization is None:
        allowed = max(_LEAST_DIFFERENCE, 2 * largest)
        return Golden(FORMULA, probabilities, outputs, allowed_difference=allowed)
    return Golden(FORMULA, probabilities, outputs, allowed_steps=max(_LEAST_STEPS, int(largest)))


def _run(kernels: Kernels, manifest: Manifest, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
    """Raw outputs, (n, outputs), each image alone, as ``edgecell_runtime.proving`` asks for them.

    Alone, since a dynamic recipe's answer depends on the other images of its batch; a fixed batch
    is filled with copies.
    """
    spec = manifest.signature.inputs[0]
    encoded = encode_pixels(pixels, spec)
    batches = [np.repeat(image[np.newaxis], spec.shape[0] or 1, axis=0) for image in encoded]
    return np.stack([outputs[0] for outputs in kernels.answers(batches)])


def _distance(
    manifest: Manifest, expected: NDArray[np.generic], found: NDArray[np.generic], kernels: Kernels
) -> float:
    """Largest distance of two sets of raw outputs, in steps or in probability.

    Raises:
        ParityError: It is beyond what can be allowed.
    """
    params = manifest.signature.outputs[0].quantization
    if params is not None:
        largest = float(np.abs(expected.astype(np.int64) - found.astype(np.int64)).max())
        wild, unit = float(_WILD_STEPS << 8 * (found.dtype.itemsize - 1)), " steps"
    else:
        both = [_probabilities(manifest, outputs) for outputs in (expected, found)]
        largest = float(np.abs(both[0] - both[1]).max())
        wild, unit = _WILD_DIFFERENCE, ""
    if not largest <= wild:
        raise ParityError(
            f"The engine's kernels {kernels.name} answer {largest:.5g}{unit} apart from those that "
            f"it takes by itself, on the same image (at most {wild:g}{unit} are allowed), so that "
            "a device's answer would depend on its processor; no file was written, try another "
            "recipe."
        )
    return largest


def _probabilities(manifest: Manifest, outputs: NDArray[np.generic]) -> NDArray[np.float64]:
    """Of real outputs; not numbers where these are not finite."""
    real = outputs.astype(np.float64)
    if not np.isfinite(real).all():
        return np.full((len(real), len(manifest.labels)), np.nan)
    return manifest.head.probabilities(real, manifest.labels, manifest.temperature)
