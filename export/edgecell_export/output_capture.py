"""Keeps what converters print away from the user, and shows it when one fails."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import BinaryIO, Final

TAIL: Final = 2000
"""So many characters of what a converter printed are shown."""

_lasting: list[BinaryIO] = []


def print_to(file: BinaryIO) -> None:
    """Lets this process print into a file from now on, also inside of ``converter_output``.

    A process that a library aborts takes the files that only it knows along; this one, which
    another process has opened too, still tells that process what was printed.

    Args:
        file: Opened for reading and writing, without a buffer.
    """
    _lasting[:] = [file]
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)


@contextlib.contextmanager
def converter_output() -> Iterator[list[str]]:
    """Catches what this process writes to its standard output and error, C++ libraries included.

    Python's warnings are caught with it: a converter's are about its own code.

    Yields:
        A list that holds the last 2,000 characters of it once the block is left.
    """
    caught: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    with (
        contextlib.nullcontext(_lasting[0]) if _lasting else tempfile.TemporaryFile() as file,
        warnings.catch_warnings(record=True, action="default") as warned,
    ):
        start = file.seek(0, os.SEEK_END)
        try:
            for stream, _ in kept:
                os.dup2(file.fileno(), stream)
            yield caught
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)
            file.seek(start)
            printed = file.read().decode(errors="replace")
            lines = [f"{item.category.__name__}: {item.message}" for item in warned or ()]
            caught.append("\n".join([*lines, printed])[-TAIL:].strip())
