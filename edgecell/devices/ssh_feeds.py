"""What calls on a device read from their standard input."""

import threading
from collections.abc import Sequence
from typing import IO, Final

from edgecell.devices.payload import Entry, write_archive
from edgecell.devices.ssh_connection import Feed

_BEAT_SECONDS: Final = 5.0


def feed_bytes(data: bytes) -> Feed:
    """Writes bytes, and is done."""

    def feed(stream: IO[bytes], _: threading.Event) -> None:
        stream.write(data)

    return feed


def feed_files(entries: Sequence[Entry]) -> Feed:
    """Writes files as an archive, and is done."""

    def feed(stream: IO[bytes], _: threading.Event) -> None:
        write_archive(entries, stream)

    return feed


def feed_beats(stream: IO[bytes], ended: threading.Event) -> None:
    """Says from time to time that somebody listens."""
    while not ended.is_set():
        stream.write(b"\n")
        stream.flush()
        ended.wait(_BEAT_SECONDS)
