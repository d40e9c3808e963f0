"""The JSON Schema of a benchmark's result, draft 2020-12, made from the dataclasses of the reader.

``python -m edgecell.tasks.bench.schema`` prints it; ``runtime/benchmark.schema.json`` is what it
printed.
"""

import sys
from typing import Final

from edgecell_export.schema import json_schema
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.codec import Json

IDENTIFIER: Final = "urn:edgecell:benchmark:1"
"""Of the schema; the number is the result's ``schema_version``."""

_COMMENT: Final = (
    "Made by `python -m edgecell.tasks.bench.schema`; do not edit. edgecell's reader refuses more "
    "than a schema can: a key that appears twice, 1.0 for an integer, a number that a 64-bit float "
    "cannot hold, and half a surrogate pair."
)


def benchmark_schema() -> dict[str, Json]:
    """The schema of the JSON file that a benchmark leaves."""
    return {**json_schema(Benchmark, IDENTIFIER), "$comment": _COMMENT}


def main() -> None:
    """Prints the schema."""
    text = codec.dumps(benchmark_schema(), indent=2) + "\n"
    sys.stdout.buffer.write(text.encode())  # bytes: the same under every locale and system


if __name__ == "__main__":
    main()
