"""From preprocessed pixels to the graph's outputs, as real numbers."""

import math
import sys
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError, ManifestError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.signature import PIXELS, TensorSpec, encode_pixels

TOGETHER = 16
"""Images that a graph for one image is given at once, where its engine can and answers the same:
a third less time in LiteRT."""

_MOST_VOXELS = 1 << 22
"""In volumes that are run at once; between the layers, each value becomes some hundred bytes."""


class Inference:
    """A session that is fed as its manifest says.

    Args:
        session: What runs the graph.
        manifest: What the artifact says of itself.

    Raises:
        ManifestError: They do not fit each other.
    """

    def __init__(self, session: Session, manifest: Manifest) -> None:
        _check_signature(session, manifest)
        self.session = session
        self._input = manifest.signature.inputs[0]
        self._batch = session.signature.inputs[0].shape[0]
        self._takes_pixels = self._input.dtype == "uint8" and self._input.quantization in (
            None,
            PIXELS,
        )
        self._quantization = manifest.signature.outputs[0].quantization
        self._may_go_together: bool | None = None  # not tried yet
        self._most = self._volumes_at_once(manifest.preprocessing.shape)
        self._columns = manifest.head.output_count(manifest.labels)

    def outputs(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """What the graph answers, as it comes: steps where its output is quantised.

        Where the graph takes batches of a fixed size, the last one is filled up with copies of its
        last image; one for single images takes ``TOGETHER`` at once, where that changes no answer.
        Of large volumes, few are run at once.

        Args:
            pixels: uint8 (n, height, width, channels) of the manifest's preprocessing, n from 1 on.

        Returns:
            (n, outputs), of the output's dtype.

        Raises:
            EngineError: The engine failed, or answered in another shape.
        """
        encoded = pixels if self._takes_pixels else encode_pixels(pixels, self._input)
        count = len(encoded)
        if self._batch == count or (self._batch is None and count <= self._most):
            found = self.session.run((encoded,))[0]
        elif self._batch is None:
            chunks = _chunks(encoded, self._most)
            found = np.concatenate([self.session.run((chunk,))[0] for chunk in chunks])
        else:
            found = self._in_batches(encoded, self._batch)
        if found.shape != (count, self._columns):
            raise EngineError(
                f"The engine answered with the shape {found.shape}; expected "
                f"{(count, self._columns)}."
            )
        return found

    @staticmethod
    def _volumes_at_once(shape: tuple[int, ...]) -> int:
        """How many are run at once where the graph lets; images are left to the caller."""
        return sys.maxsize if len(shape) == 3 else max(1, _MOST_VOXELS // math.prod(shape))

    def _in_batches(self, encoded: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
        """Runs a graph that was written for batches of one size."""
        count = len(encoded)
        whole = count - count % TOGETHER if batch == 1 and self._most >= TOGETHER else 0
        filling = np.repeat(encoded[-1:], -(count - whole) % batch, axis=0)
        rest = np.concatenate([encoded[whole:], filling])
        rows = [
            *(self._together(chunk) for chunk in _chunks(encoded[:whole], TOGETHER)),
            *(self.session.run((chunk,))[0] for chunk in _chunks(rest, batch)),
        ]
        return np.concatenate(rows)[:count]

    def _together(self, encoded: NDArray[np.generic]) -> NDArray[np.generic]:
        """Runs ``TOGETHER`` images at once, if that has given the very answers of one at a time."""
        if self._may_go_together:
            return self.session.run_together((encoded,))[0]
        singly = np.concatenate([self.session.run((image,))[0] for image in _chunks(encoded, 1)])
        if self._may_go_together is None:
            try:
                found = self.session.run_together((encoded,))[0]
                self._may_go_together = np.array_equal(found, singly)
            except EngineError:
                self._may_go_together = False
        return singly

    def logits(self, pixels: NDArray[np.uint8]) -> list[list[float]]:
        """The outputs as real numbers, by image, then by output; see ``outputs``.

        Raises:
            EngineError: As in ``outputs``, or an answer is no number.
        """
        rows: list[list[float]] = self.outputs(pixels).tolist()
        params = self._quantization
        if params is not None:
            zero, scale = params.zero_point, params.scale
            return [[(step - zero) * scale for step in row] for row in rows]
        if not all(map(math.isfinite, chain.from_iterable(rows))):
            raise EngineError(
                "The model answered with values that are not numbers; it is damaged at its source."
            )
        return rows


def _chunks(images: NDArray[np.generic], size: int) -> list[NDArray[np.generic]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _check_signature(session: Session, manifest: Manifest) -> None:
    """Holds what the engine found in the graph against what the manifest says.

    Raises:
        ManifestError: They differ, or they do not fit the preprocessing and the head.
    """
    found, written = session.signature, manifest.signature
    pairs = [("input", found.inputs, written.inputs), ("output", found.outputs, written.outputs)]
    for kind, engine_specs, manifest_specs in pairs:
        if len(engine_specs) != 1 or len(manifest_specs) != 1:
            raise ManifestError(
                f"The graph has {len(engine_specs)} {kind}s and its manifest names "
                f"{len(manifest_specs)}; a classifier has one."
            )
        if not _same(engine_specs[0], manifest_specs[0]):
            raise ManifestError(
                f"The graph's {kind} is {engine_specs[0]}, its manifest says {manifest_specs[0]}."
            )
    if written.inputs[0].dtype == "int8" and written.inputs[0].quantization is None:
        raise ManifestError("The graph's input is int8, and its manifest gives it no scale.")
    if written.inputs[0].shape[1:] != manifest.preprocessing.shape:
        raise ManifestError(
            f"The graph takes {written.inputs[0].shape}, its preprocessing gives "
            f"{manifest.preprocessing.shape}."
        )
    outputs = manifest.head.output_count(manifest.labels)
    if written.outputs[0].shape[1:] != (outputs,):
        raise ManifestError(
            f"The graph gives {written.outputs[0].shape}; head and labels need {outputs} outputs."
        )


def _same(found: TensorSpec, written: TensorSpec) -> bool:
    """Equal as far as the engine knows: ONNX Runtime knows no quantisation of a graph's ends."""
    same = (found.dtype, found.shape) == (written.dtype, written.shape)
    return same and found.quantization in (None, written.quantization)
