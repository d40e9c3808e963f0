"""A benchmark as files: JSON, CSV, Markdown, HTML, and the JSON of pytest-benchmark."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edgecell.console import markdown_table
from edgecell.tasks.bench import comparing_tables
from edgecell.tasks.bench.csv_rows import as_csv
from edgecell.tasks.bench.pytest_json import as_pytest_benchmark
from edgecell.tasks.bench.tables import tables
from edgecell.tasks.bench.words import (
    date_words,
    machine_words,
    not_measured,
    plan_words,
    remarks,
    version_words,
)
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import ManifestError, UsageError
from edgecell_runtime.files import check_folder, write_text
from edgecell_train.runs import RECORD

PYTEST_SUFFIX: Final = ".pytest.json"
"""Of a file for pytest-benchmark."""


def read_benchmark(path: Path) -> Benchmark:
    """Reads a result that ``write`` wrote as JSON.

    Raises:
        UsageError: The file is missing, cannot be read or holds no such result.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The benchmark {path} cannot be read: {error.strerror or error}; expected a JSON file "
            "that `edgecell bench --output FILE.json` wrote."
        ) from error
    if path.name == RECORD or path.name.endswith(PYTEST_SUFFIX):
        what = "the record of a run" if path.name == RECORD else "a file for pytest-benchmark"
        name = "the run's folder" if path.name == RECORD else "the .json file of that measurement"
        raise UsageError(f"{path} is {what} and no benchmark of edgecell; name {name}.")
    try:
        return codec.loads(Benchmark, text, "benchmark")
    except ManifestError as error:
        raise UsageError(
            f"{path} is no benchmark that this edgecell can read: {error} Measure again with "
            "`edgecell bench --output FILE.json`."
        ) from error


def check_output(output: Path | None) -> None:
    """Refuses a file that cannot be written, before anything is measured.

    Raises:
        UsageError: Its suffix is none that is known, or it is a folder.
        StorageError: Its folder cannot be made or written to.
        MissingPartError: It is a page, and jinja2 or matplotlib is not installed.
    """
    if output is None:
        return
    if _writer(output) is as_html:
        from edgecell.report_benchmark import require_libraries

        require_libraries()
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; expected the name of a file.")
    check_folder(output.parent)


def write(benchmark: Benchmark, output: Path) -> None:
    """Writes a result by the file's suffix: .json, .jsonl, .csv, .md, .html or .pytest.json.

    Raises:
        UsageError: The suffix is none of these.
        MissingPartError: jinja2 or matplotlib is not installed, which HTML needs.
        StorageError: The file could not be written.
    """
    write_text(output, _writer(output)(benchmark))


def as_json(benchmark: Benchmark) -> str:
    """The whole result; ``runtime/benchmark.schema.json`` describes it."""
    return codec.dumps(benchmark, indent=2) + "\n"


def as_markdown(benchmark: Benchmark) -> str:
    """For a README: the tables, flags, and one line each of plan, machine and date."""
    parts = [markdown_table(table) for table in tables(benchmark)]
    about = [f"\\[{one.letter}\\] {one.line()}" for one in remarks(benchmark)]
    about += not_measured(benchmark)
    if benchmark.comparison is not None:
        parts.append(markdown_table(comparing_tables.table(benchmark.comparison)))
        about += comparing_tables.notes(benchmark.comparison)
    about.append(
        f"Measured {date_words(benchmark.time)} on {machine_words(benchmark.system)} "
        f"({version_words(benchmark.system, benchmark.rows)}): {plan_words(benchmark)}. In "
        "brackets: 95 % intervals."
    )
    parts += [f"{line}\n" for line in about]
    return "\n".join(parts)


def as_html(benchmark: Benchmark) -> str:
    """One page with plots that loads nothing from elsewhere.

    Raises:
        MissingPartError: jinja2 or matplotlib is not installed.
    """
    from edgecell.report_benchmark import render_benchmark

    return render_benchmark(benchmark)


def _as_json_line(benchmark: Benchmark) -> str:
    return codec.dumps(benchmark) + "\n"


def _as_pytest_text(benchmark: Benchmark) -> str:
    return codec.dumps(as_pytest_benchmark(benchmark), indent=4) + "\n"


_WRITERS: Final[Mapping[str, Callable[[Benchmark], str]]] = {
    PYTEST_SUFFIX: _as_pytest_text,
    ".json": as_json,
    ".jsonl": _as_json_line,
    ".csv": as_csv,
    ".md": as_markdown,
    ".html": as_html,
}


def _writer(output: Path) -> Callable[[Benchmark], str]:
    for suffix, writer in _WRITERS.items():
        if output.name.endswith(suffix):
            return writer
    raise UsageError(
        f"--output {output} has the suffix {output.suffix!r}; expected one of "
        f"{', '.join(_WRITERS)}."
    )
