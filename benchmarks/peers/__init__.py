"""The benchmark tools of the engines' own makers, beside edgecell's; ``bench_peers.py`` runs them.

One tool is one file with a ``TOOL``; a new one is added to ``TOOLS``.
"""

from collections.abc import Sequence
from typing import Final

from peers import (
    benchmark_app,
    litert_benchmark,
    onnxruntime_perf_test,
    onnxruntime_test,
    pytest_benchmark_tool,
)
from peers.tool import Tool


def by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Tools by their names.

    Raises:
        ValueError: Two have the same name.
    """
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise ValueError(f"a tool named {tool.name!r} is registered already.")
        found[tool.name] = tool
    return found


TOOLS: Final = by_name(
    (
        litert_benchmark.TOOL,
        onnxruntime_test.TOOL,
        onnxruntime_perf_test.TOOL,
        benchmark_app.TOOL,
        pytest_benchmark_tool.TOOL,
    )
)
