"""Where decoded pixels go: memory, the cache, or a temporary file."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.errors import StorageError
from edgecell_train.decoded_cache import DecodedCache
from edgecell_train.decoded_entry import EntryWriter


@dataclass(frozen=True)
class RowFacts:
    """What is known of the images so far, in their order.

    Attributes:
        names: Of the readable ones.
        sha256: Of the same.
        unreadable: Name and reason of the others.
    """

    names: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


class PixelTarget:
    """Where pixels go: into memory where they fit, and into the cache where there is one.

    Attributes:
        notes: Sentences about the cache, where it could not be used.
    """

    def __init__(self, stack: contextlib.ExitStack, shape: tuple[int, ...], *, held: bool) -> None:
        self._stack, self._shape = stack, shape
        self._memory = np.empty(shape, np.uint8) if held else None
        self._writer: EntryWriter | None = None
        self._spill: IO[bytes] | None = None
        self._count = 0
        self.notes: list[str] = []
        self._place = ""

    def keep_in(self, cache: DecodedCache, key: str) -> None:
        """Has them written to the cache, if that is possible."""
        self._place = str(cache.folder)
        try:
            self._writer = self._stack.enter_context(cache.writing(key, self._shape))
        except OSError as error:
            self._give_up_keeping(error)

    def require_place(self) -> None:
        """Opens a temporary file where there is neither memory nor a cache."""
        if self._memory is None and self._writer is None:
            with self._no_space():
                self._spill = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115

    def append(self, rows: list[NDArray[np.uint8]]) -> None:
        """Takes the next rows."""
        if not rows:
            return
        block = np.stack(rows)
        if self._memory is not None:
            self._memory[self._count : self._count + len(block)] = block
        self._count += len(block)
        if self._spill is not None:
            with self._no_space():
                self._spill.write(block.data)
        if self._writer is not None:
            try:
                self._writer.append(block)
            except OSError as error:
                self._give_up_keeping(error)

    def finish(self, rows: RowFacts, *, keep: bool) -> NDArray[np.uint8] | None:
        """All pixels, read-only; None where they are in the cache only."""
        if self._writer is not None and (keep or self._memory is None):
            try:
                self._writer.finish(rows.names, rows.sha256, rows.unreadable)
            except OSError as error:
                self._give_up_keeping(error)
        if self._spill is not None:
            with self._no_space():
                self._spill.flush()
                shape = (self._count, *self._shape[1:])
                return np.memmap(self._spill, np.uint8, "r", 0, shape)
        if self._memory is None:
            return None
        pixels = self._memory[: self._count]
        pixels.flags.writeable = False
        return pixels

    def _give_up_keeping(self, error: OSError) -> None:
        self._writer = None
        reason = error.strerror or str(error)
        self.notes.append(
            f"The decoded images could not be kept in {self._place}: {reason}. The next training "
            "decodes them again."
        )
        if self._memory is None and self._count:
            with self._no_space():
                raise error

    @contextlib.contextmanager
    def _no_space(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            size = math.prod(self._shape)
            raise StorageError(
                f"The decoded images, {size:,} bytes, fit neither in the memory that they may take "
                f"nor on the disk: {error.strerror or error}. Free space in {self._place or 'the'} "
                "or the system's folder for temporary files, or allow more memory."
            ) from error
