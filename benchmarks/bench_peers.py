"""Do the engines' own benchmark tools find what ``edgecell bench`` finds?

``python benchmarks/bench_peers.py ARTIFACT ... [--rounds 8] [--output FILE]`` has each tool of
``peers/`` and edgecell measure the same file by turns, in an order drawn anew each round, so that a
busy machine hits all alike. Every measurement is a process of its own. A tool that is missing or
fails is named and left out.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import scoring
from peers import TOOLS, comparing, own
from peers.rows import Compared, LayerRow, PeerRow, tables

from edgecell import console
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import EdgecellError


@dataclass(frozen=True)
class Result:
    """All that was measured.

    Attributes:
        circumstances: Where and when.
        settings: How.
        rows: One a tool, artifact and engine.
        layers: One an artifact and engine.
        left_out: Sentences on what has no row.
    """

    circumstances: scoring.Circumstances
    settings: comparing.Settings
    rows: tuple[PeerRow, ...]
    layers: tuple[LayerRow, ...]
    left_out: tuple[str, ...]


def main() -> int:
    """Measures, prints and writes."""
    options = _options()
    before = scoring.circumstances(1, tools=("pytest-benchmark",))
    settings = comparing.Settings(options.rounds, options.seconds, options.seed)
    tools = [TOOLS[name] for name in options.tools]
    found = []
    try:
        artifacts = [read_artifact(path) for path in options.artifacts]
        for artifact in artifacts:
            with tempfile.TemporaryDirectory() as folder:
                inputs = own.write_inputs(artifact, Path(folder) / "inputs")
                found.append(comparing.compare(artifact, tools, inputs, settings))
    except EdgecellError as error:
        console.error(str(error))
        return 1
    result = Result(
        before,
        settings,
        tuple(row for one in found for row in one.rows),
        tuple(row for one in found for row in one.layers),
        (*comparing.missing(tools), *(line for one in found for line in one.left_out)),
    )
    text = as_markdown(result, found)
    print(text)
    scoring.write(result, text, options.output)
    return 0


def as_markdown(result: Result, found: Sequence[Compared]) -> str:
    """The tables and the lines below them."""
    lines = [
        f"{result.settings.rounds} rounds of {result.settings.seconds:g} s each; times are medians "
        "over the rounds, intervals 95 % over rounds, and of what a tool rounds away.",
        *(
            f"{row.artifact} in {row.engine}: {words}."
            for row in result.layers
            for words in row.disturbed
        ),
        *result.left_out,
        result.circumstances.sentence(),
    ]
    parts = [console.markdown_table(table) for table in tables(found)]
    return "\n".join(parts) + "".join(f"\n{line}\n" for line in lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+", help=".tflite or .onnx files")
    parser.add_argument("--rounds", type=_rounds, default=8, help="measurements of each; 8")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement; 2")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--seed", type=int, default=0, help="of the orders")
    scoring.add_output(parser)
    return parser.parse_args()


def _rounds(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError("an interval needs at least 2 rounds")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
