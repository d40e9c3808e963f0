"""Things to give a converting process that harm it there, and what to look at afterwards."""

import os
from collections.abc import Callable
from typing import Any

from edgecell_export.conversion_process import ConversionProcess
from edgecell_export.formats.base import Conversion
from edgecell_export.output_capture import converter_output
from edgecell_export.prepare.graph import Chain, Graph, Part
from edgecell_export.recipes import RECIPES


class Call:
    """Becomes a call's result where it is unpickled; arguments may be calls."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function, self._arguments = function, arguments

    def __reduce__(self) -> Any:
        return self._function, self._arguments


def abort_while_converting(length: int = 0) -> None:
    """Ends the process as a failed check in a C++ library does, under the capture of output."""
    with converter_output():
        print("printed before")
        os.write(2, b"x" * length + b"F0000 Check failed: a shape is known\n")
        os.abort()


def giving(*things: Any) -> Conversion:
    """A conversion that becomes something else when the child reads it."""
    graph = Graph((1, 1, 1), (Part(Chain((1, 1, 1), things)),))
    return Conversion(graph, RECIPES["float32"], None)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def child_of(process: ConversionProcess) -> int:
    assert process.pid is not None
    assert is_running(process.pid)
    return process.pid
