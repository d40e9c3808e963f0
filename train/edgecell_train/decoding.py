"""Decoding a whole set of labelled images, once."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import DataError, ImageError, StorageError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, data_sha256
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.stored_images import image_sha256
from edgecell_runtime.threads import allowed_cpus
from edgecell_train.decoded_cache import DecodedCache, entry_key
from edgecell_train.decoded_entry import BLOCK_BYTES, CachedImages
from edgecell_train.memory import free_memory_bytes
from edgecell_train.pixel_target import PixelTarget, RowFacts

_MOST_IN_BATCH: Final = 64
"""Images that one thread decodes in one go: a task for each would cost a tenth more."""

_AHEAD: Final = 3
"""Batches for each thread that may be on their way, so that memory stays flat."""

Progress = Callable[[int, int], None]
"""Told the number of images done, and of all."""


@dataclass(frozen=True)
class Decoded:
    """The readable images of a set.

    Attributes:
        images: In the order of the rows below.
        pixels: uint8 (n, height, width, channels), 0-255, preprocessed, read-only; a ``np.memmap``
            where they come from the cache or do not fit in memory.
        sha256: Of each original image.
        unreadable: Name and reason of every image that was left out.
        notes: Sentences about the cache, where it could not be used.
        from_cache: Whether they were decoded by an earlier call.
    """

    images: tuple[LabelledImage, ...]
    pixels: NDArray[np.uint8]
    sha256: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    from_cache: bool = False

    @property
    def data_sha256(self) -> str:
        """Hash of the readable images: their names and their bytes."""
        names = (image.name for image in self.images)
        return data_sha256(zip(self.sha256, names, strict=True))


def decode(
    images: LabelledImages,
    spec: PreprocessSpec,
    progress: Progress,
    *,
    cache: DecodedCache | None = None,
    memory_mb: int = 0,
) -> Decoded:
    """Decodes all images, on as many threads as there are CPUs, or takes them from the cache.

    Args:
        images: The open set.
        spec: The model's preprocessing.
        progress: Called every few images.
        cache: Where decoded images are kept; None decodes them anew and keeps nothing.
        memory_mb: What pixels may take in memory, in MiB; 0 allows half of what is free. More of
            them are mapped from the cache, or from a temporary file where there is none.

    Raises:
        DataError: Not one image of a class can be read.
        StorageError: The pixels fit neither in memory nor on the disk.
    """
    key = "" if cache is None else entry_key(images.location, images.stamp(), spec)
    if cache is not None and (found := cache.find(key)) is not None:
        decoded = _from_cache(images, found)
        if decoded is not None:
            progress(len(images), len(images))
            return decoded
    shape = (len(images), *spec.shape)
    held = math.prod(shape) <= (memory_mb << 20 or free_memory_bytes() // 2)
    with contextlib.ExitStack() as stack:
        target = PixelTarget(stack, shape, held=held)
        if cache is not None:
            target.keep_in(cache, key)
        target.require_place()
        rows = RowFacts()
        for start, batch in _batches(images, spec):
            target.append(_add(rows, batch))
            progress(start + len(batch), len(images))
        _require_classes(images, rows)
        kept = cache is not None and key == entry_key(images.location, images.stamp(), spec)
        pixels = target.finish(rows, keep=kept)
    if pixels is None:  # they are in the cache, and nowhere else
        assert cache is not None
        found = cache.find(key)
        if found is None:
            raise StorageError(
                f"The decoded images were removed from {cache.folder} at once; expected them to "
                "stay. Look for what clears it, or allow more memory."
            )
        pixels = found.mapped()
    names = zip(rows.names, rows.sha256, strict=True)
    by_name = [(images.get(name), sha256) for name, sha256 in names]
    return Decoded(
        tuple(image for image, _ in by_name if image is not None),
        pixels,
        tuple(rows.sha256),
        tuple(rows.unreadable),
        tuple(target.notes),
    )


@dataclass(frozen=True)
class _Result:
    """What became of one image: its pixels and hash, or why it has none."""

    name: str
    pixels: NDArray[np.uint8] | None
    sha256: str
    reason: str = ""


def _add(rows: RowFacts, batch: Sequence[_Result]) -> list[NDArray[np.uint8]]:
    """Takes the next images; gives the pixels of the readable ones."""
    pixels = []
    for result in batch:
        if result.pixels is None:
            rows.unreadable.append((result.name, result.reason))
        else:
            rows.names.append(result.name)
            rows.sha256.append(result.sha256)
            pixels.append(result.pixels)
    return pixels


def _from_cache(images: LabelledImages, found: CachedImages) -> Decoded | None:
    """The set as it was kept; None where it is not of just these images."""
    of_rows = [images.get(name) for name in found.names]
    kept = tuple(image for image in of_rows if image is not None)
    left_out = {name for name, _ in found.unreadable}
    if len(kept) != len(found.names) or len(kept) + len(left_out) != len(images):
        return None
    pixels = found.mapped()
    return Decoded(kept, pixels, found.sha256, found.unreadable, from_cache=True)


def _batches(
    images: LabelledImages, spec: PreprocessSpec
) -> Iterator[tuple[int, Sequence[_Result]]]:
    """Decodes in threads; gives batches in their order, each with its first image's number."""
    in_order = list(images)
    size = min(_MOST_IN_BATCH, max(1, BLOCK_BYTES // math.prod(spec.shape)))
    threads = allowed_cpus()

    def read(start: int) -> list[_Result]:
        return [_read(images, image, spec) for image in in_order[start : start + size]]

    waiting: deque[tuple[int, Future[list[_Result]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(in_order), size):
                waiting.append((start, pool.submit(read, start)))
                if len(waiting) > _AHEAD * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _read(images: LabelledImages, image: LabelledImage, spec: PreprocessSpec) -> _Result:
    try:
        stored = images.read(image)
        return _Result(image.name, spec.apply(stored), image_sha256(stored))
    except ImageError as error:
        return _Result(image.name, None, "", str(error))


def _require_classes(images: LabelledImages, rows: RowFacts) -> None:
    lost = set(images.labels) - {name.partition("/")[0] for name in rows.names}
    if lost:
        label = min(lost)
        name, reason = next(bad for bad in rows.unreadable if bad[0].startswith(f"{label}/"))
        raise DataError(
            f"Not one image of {label} in {images.location} can be read; the first, {name}, "
            f"fails with: {reason}"
        )
