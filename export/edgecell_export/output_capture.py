"""Keeps what converters print away from the user, and shows it when one fails."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

_TAIL = 2000


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
        tempfile.TemporaryFile() as file,
        warnings.catch_warnings(record=True, action="default") as warned,
    ):
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
            file.seek(0)
            printed = file.read().decode(errors="replace")
            lines = [f"{item.category.__name__}: {item.message}" for item in warned or ()]
            caught.append("\n".join([*lines, printed])[-_TAIL:].strip())
