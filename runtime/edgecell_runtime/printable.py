"""Text of others that is shown: file names, labels."""

import re
from typing import Final

# C0 and C1 controls, what ends a line or paragraph, and what turns the direction of writing.
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable_name(name: str) -> str:
    r"""Writes a file name so that it can be printed on one line, whatever is in it.

    Bytes that are not UTF-8, which a report, JSON or CSV cannot hold, become ``\udcXX``. Control
    characters, line breaks and bidirectional controls, which could forge a line or a row, become
    Python's escapes: ``\x1b``, ``\r``, ``\u202e``. A backslash stays as it is, so that writing a
    name again changes nothing; a name that holds an escape literally looks like the one that holds
    the character.
    """
    name = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)
    return name.encode("utf-8", "backslashreplace").decode()
