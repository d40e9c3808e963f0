"""Writes a README's benchmark tables from results of ``edgecell bench --output``.

``python benchmarks/readme_tables.py README.md RESULT.json ... [--check]`` replaces what stands
between ``<!-- bench:NAME -->`` and ``<!-- /bench -->`` by the tables of ``NAME.json``, with machine
and date, so that no figure is typed by hand. ``--check`` writes nothing and ends with status 1
where the README differs from that.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecell import console
from edgecell.tasks.bench.formats import as_markdown, read_benchmark
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.files import write_text
from edgecell_runtime.wording import counted

_BEGINS: Final = re.compile(r"<!-- bench:(?P<name>[^\s>]+) -->")
_ENDS: Final = "<!-- /bench -->"
_MARKER: Final = re.compile(rf"{_BEGINS.pattern}|{re.escape(_ENDS)}")


def main() -> int:
    """Writes or checks; the exit status."""
    options = _options()
    try:
        before = _read(options.readme)
        after = filled(before, rendered(options.readme, options.results))
        if options.check:
            return _checked(options.readme, options.results, same=before == after)
        if before != after:
            write_text(options.readme, after)
    except EdgecellError as error:
        console.error(str(error))
        return error_status(error)
    console.say(f"{options.readme} has the tables of {counted(len(options.results), 'result')}.")
    return 0


def error_status(error: EdgecellError) -> int:
    """2 for wrong usage, else 1."""
    return 2 if isinstance(error, UsageError) else 1


def rendered(readme: Path, results: Sequence[Path]) -> dict[str, str]:
    """The tables of each result by its file's name without the suffix.

    Raises:
        UsageError: One cannot be read, or two have the same name.
    """
    found: dict[str, str] = {}
    for path in results:
        if path.stem in found:
            raise UsageError(f"Two results are named {path.stem}; a block takes one: rename one.")
        link = Path(os.path.relpath(path.resolve(), readme.resolve().parent)).as_posix()
        text = f"{as_markdown(read_benchmark(path))}\nAll figures: [{path.name}]({link}).\n"
        if _MARKER.search(text):
            raise UsageError(
                f"{path} has a name in it that reads as a marker; rename the artifact."
            )
        found[path.stem] = text
    return found


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A README with its blocks replaced.

    Args:
        text: The README.
        tables: Markdown by the blocks' names.

    Raises:
        UsageError: A block is missing, stands there twice, has no end or no result.
    """
    parts: list[str] = []
    seen: list[str] = []
    place = 0
    while (begins := _MARKER.search(text, place)) is not None:
        name = begins["name"]
        ends = _MARKER.search(text, begins.end())
        if name is None:
            raise UsageError(f"There is a {_ENDS} without a beginning, {_line(text, begins)}.")
        if ends is None or ends[0] != _ENDS:
            raise UsageError(f"bench:{name}, {_line(text, begins)}, has no {_ENDS}; add it.")
        if name in seen:
            raise UsageError(f"There are two blocks bench:{name}; leave one.")
        if name not in tables:
            raise UsageError(f"bench:{name} has no result here; name {name}.json too.")
        seen.append(name)
        parts += [text[place : begins.end()], "\n\n", tables[name], "\n", _ENDS]
        place = ends.end()
    for name in tables:
        if name not in seen:
            raise UsageError(
                f"There is no block for {name}.json; put <!-- bench:{name} --> and, below it, "
                f"{_ENDS} where its tables belong."
            )
    return "".join((*parts, text[place:]))


def _checked(readme: Path, results: Sequence[Path], *, same: bool) -> int:
    if same:
        console.say(f"{readme} is what its results say.")
        return 0
    names = " ".join(map(str, results))
    console.error(
        f"{readme} differs from its results; write it anew: python benchmarks/readme_tables.py "
        f"{readme} {names}"
    )
    return 1


def _read(readme: Path) -> str:
    try:
        return readme.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{readme} cannot be read: {error}; expected a text in UTF-8.") from error


def _line(text: str, found: "re.Match[str]") -> str:
    return f"line {text.count(chr(10), 0, found.start()) + 1}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path, help="the README with the markers")
    parser.add_argument(
        "results", type=Path, nargs="+", help="JSON files that `edgecell bench --output` wrote"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if it differs"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
