"""What people see: messages and progress on standard error, results on standard output."""

import contextlib
import csv as csv_module
import html
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import rich.box
import rich.console
import rich.measure
import rich.table
import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder, write_text

SKIPPED_STATUS = 3
"""Exit status of a command that is done but had to skip some inputs."""

UNREAD_STATUS = 141
"""Exit status where nobody reads the output any more, as shells have it of such a signal."""

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", help="Also write the result: .json, .jsonl, .csv, .md or .html."),
]

ARTIFACT_HELP = "What `edgecell export` wrote, or a bundled model, such as cell-nano."

MAX_THREADS = 1024
"""More of them make an engine start for minutes, and end in its own words."""

_FOLDABLE = 3
"""Tables of so few columns stay readable when their cells are folded."""

_FILE_WIDTH = 10_000
"""Columns of output that is no terminal's."""

_messages = rich.console.Console(stderr=True, highlight=False)


def set_quiet(quiet: bool) -> None:
    """Silences messages and progress; results and errors stay."""
    _messages.quiet = quiet


def say(message: str) -> None:
    """Tells the user something, on standard error."""
    _messages.print(escape(message), soft_wrap=True)


def warn(message: str) -> None:
    """Tells the user something to look at, on standard error."""
    _messages.print(f"[yellow]Note:[/yellow] {escape(message)}", soft_wrap=True)


def error(message: str) -> None:
    """Tells the user what went wrong, also where messages are silenced."""
    loud = rich.console.Console(stderr=True, highlight=False)
    loud.print(f"[bold red]Error:[/bold red] {escape(message)}", soft_wrap=True)


def skipped(message: str) -> None:
    """Names an input that was skipped, also where messages are silenced."""
    loud = rich.console.Console(stderr=True, highlight=False)
    loud.print(f"[yellow]Skipped:[/yellow] {escape(message)}", soft_wrap=True)


def leave_output() -> None:
    """Lets go of standard output when its reader is gone; else Python complains at its end."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Progress bars with the time left, on a terminal; nothing elsewhere."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[words]}"),
        console=_messages,
        disable=_messages.quiet or not _messages.is_terminal,
    ) as bars:
        yield bars


class StageProgress:
    """Follows work in stages, one bar each; what ``edgecell_train.training.Watcher`` asks for."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        """Begins a stage; call what it returns with steps done, all steps, and words."""
        task = self._bars.add_task(name, total=None, words="")
        if self._bars.disable:
            say(f"{name} ...")

        tenths = 0

        def update(done: int, total: int, words: str) -> None:
            nonlocal tenths
            self._bars.update(task, completed=done, total=total, words=words)
            if self._bars.disable and words and done * 10 // total > tenths:
                tenths = done * 10 // total
                say(f"  {tenths * 10} %: {words}")

        return update


@dataclass(frozen=True)
class Table:
    """A result as a table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def present(document: Json, tables: Sequence[Table], *, as_json: bool, output: Path | None) -> None:
    """Prints a result, and writes it to a file where asked.

    Args:
        document: The result for machines.
        tables: The result for people.
        as_json: Print the document instead of the tables.
        output: Written by its suffix.

    Raises:
        UsageError: The suffix is none of .json, .jsonl, .csv, .md and .html.
        StorageError: The file could not be written.
    """
    write(document, tables, output)
    if as_json:
        typer.echo(codec.dumps(document, indent=2))
        return
    out = rich.console.Console(highlight=False)
    if not out.is_terminal:
        out.width = _FILE_WIDTH  # a program that reads the output wants whole lines
    for table in tables:
        if table.title:
            out.print(f"\n[bold]{escape(table.title)}[/bold]", soft_wrap=True)
        drawn = _rich_table(table)
        if len(table.columns) > _FOLDABLE and _width(out, drawn) > out.width:
            out.print(escape(_stacked(table)), soft_wrap=True)
        else:
            out.print(drawn)


def write(document: Json, tables: Sequence[Table], output: Path | None) -> None:
    """Writes a result to a file where asked.

    Raises:
        UsageError: The suffix is none of .json, .jsonl, .csv, .md and .html.
        StorageError: The file could not be written.
    """
    if output is not None:
        check_output(output)
        write_text(output, _WRITERS[output.suffix](document, tables))
        say(f"Written to {output}")


def check_output(output: Path | None) -> None:
    """Refuses a file that cannot be written, before the slow part.

    Raises:
        UsageError: Its suffix is none of .json, .jsonl, .csv, .md and .html, or it is a folder.
        StorageError: Its folder cannot be made or written to.
    """
    if output is not None and output.suffix not in _WRITERS:
        raise UsageError(
            f"--output {output} has the suffix {output.suffix!r}; expected one of "
            f"{', '.join(_WRITERS)}."
        )
    if output is not None:
        if output.is_dir():
            raise UsageError(f"--output {output} is a folder; expected the name of a file.")
        check_folder(output.parent)


def shown(path: Path) -> str:
    """A path as people want to read it: relative where it lies below the current folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _width(out: rich.console.Console, drawn: rich.table.Table) -> int:
    """Columns that a table takes without folding a cell."""
    wide = out.options.update(max_width=_FILE_WIDTH)
    return rich.measure.Measurement.get(out, wide, drawn).maximum


def _stacked(table: Table) -> str:
    """A table for a narrow terminal: one block a row, one line a column."""
    wide = max(len(column) for column in table.columns)
    blocks = (
        "\n".join(f"{name:<{wide}}  {cell}" for name, cell in zip(table.columns, row, strict=True))
        for row in table.rows
    )
    return "\n\n".join(blocks) + "\n"


def _rich_table(table: Table) -> rich.table.Table:
    drawn = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(table.columns):
        numeric = index > 0 and all(_is_number(row[index]) for row in table.rows)
        drawn.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(escape(cell) for cell in row))
    return drawn


def _is_number(text: str) -> bool:
    """Whether a cell is empty, a dash, or begins with a whole word that is a number."""
    first = text.partition(" ")[0].rstrip("%").replace(",", "")
    if first in ("", "-"):
        return True
    try:
        float(first)
    except ValueError:
        return False
    return True


def _as_json(document: Json, _: Sequence[Table]) -> str:
    return codec.dumps(document, indent=2) + "\n"


def _as_json_line(document: Json, _: Sequence[Table]) -> str:
    return codec.dumps(document) + "\n"


def _as_csv(_: Json, tables: Sequence[Table]) -> str:
    buffer = io.StringIO()
    writer = csv_module.writer(buffer, lineterminator="\n")
    for table in tables:
        writer.writerow(table.columns)
        writer.writerows(table.rows)
    return buffer.getvalue()


def _as_markdown(_: Json, tables: Sequence[Table]) -> str:
    return "\n".join(markdown_table(table) for table in tables)


def markdown_table(table: Table) -> str:
    """The table in Markdown."""
    lines = [f"**{table.title}**", ""] if table.title else []
    lines.append(f"| {' | '.join(table.columns)} |")
    lines.append(f"|{' --- |' * len(table.columns)}")
    cells = ([cell.replace("|", "\\|") for cell in row] for row in table.rows)
    lines += [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(lines) + "\n"


def _as_html(_: Json, tables: Sequence[Table]) -> str:
    parts = ["<!doctype html><meta charset=utf-8><title>edgecell</title>"]
    for table in tables:
        head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
        rows = (
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table.rows
        )
        parts.append(
            f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>{''.join(rows)}"
            "</table>"
        )
    return "\n".join(parts) + "\n"


_WRITERS: dict[str, Callable[[Json, Sequence[Table]], str]] = {
    ".json": _as_json,
    ".jsonl": _as_json_line,
    ".csv": _as_csv,
    ".md": _as_markdown,
    ".html": _as_html,
}
