"""``edgecell data``: public data sets."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgecell.data_sets import DATA_SETS, Download
from edgecell.download import ProgressCallback, fetch, is_present
from edgecell_runtime.errors import UsageError

app = typer.Typer(name="data", help="Public data sets.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Public data sets."""


@app.command("download")
def download_command(
    name: Annotated[str, typer.Argument(help=f"Which data set: {', '.join(sorted(DATA_SETS))}.")],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to put it in; created if missing.")
    ] = Path(),
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="The hash to expect, if the publisher changed the file."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A mirror to fetch it from.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Download a data set, resuming after a cut, and check its hash before it gets its name."""
    download = _chosen(name, sha256, url)
    present = is_present(download, out)
    if present:
        path = out / download.file_name
    else:
        typer.echo(f"Downloading {download.url}", err=True)
        with _progress_bar(download.file_name) as progress:
            path = fetch(download, out, progress)
    size_bytes = path.stat().st_size
    if as_json:
        document = {
            "path": str(path),
            "sha256": download.sha256,
            "bytes": size_bytes,
            "downloaded": not present,
        }
        typer.echo(json.dumps(document))
        return
    done = (
        "is already there and its hash is right; nothing was downloaded" if present else "is there"
    )
    typer.echo(f"{path} {done} ({size_bytes:,} bytes, sha256 {download.sha256}).")
    typer.echo(f"Next: edgecell train --data {shlex.quote(str(path))}")


def _chosen(name: str, sha256: str | None, url: str | None) -> Download:
    """The data set of that name, with what the options change about it.

    Raises:
        UsageError: No data set has that name, or the hash is none.
    """
    if name not in DATA_SETS:
        raise UsageError(
            f"There is no data set {name!r}. The known ones are: {', '.join(sorted(DATA_SETS))}."
        )
    download = DATA_SETS[name]
    if sha256 is not None:
        if re.fullmatch(r"[0-9a-fA-F]{64}", sha256) is None:
            raise UsageError(
                f"--sha256 is {sha256!r}; expected 64 hexadecimal digits, as sha256sum prints them."
            )
        if sha256.lower() != download.sha256:
            # Another file has another size too, which nobody has told us.
            download = replace(download, sha256=sha256.lower(), size_bytes=None)
    return download if url is None else replace(download, url=url)


@contextmanager
def _progress_bar(description: str) -> Iterator[ProgressCallback]:
    """A bar with the time left on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _here, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None)
        yield lambda here, total: bar.update(task, completed=here, total=total)
