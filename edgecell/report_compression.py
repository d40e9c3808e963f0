"""What a report shows of the compression that a run came from."""

from dataclasses import dataclass

from edgecell.console import Table
from edgecell.report_pictures import png_uri
from edgecell.tasks.frontier_table import frontier_table
from edgecell_train.compression.search import FRONTIER_PNG, SEARCH, read_search
from edgecell_train.compression.source import FOLDER
from edgecell_train.runs import Run


@dataclass(frozen=True)
class Compression:
    """The search.

    Attributes:
        source: Name of the run that was compressed.
        limits: What was asked for, in words.
        plot: As a ``data:`` URI; None where the file is gone.
        table: Its points.
    """

    source: str
    limits: str
    plot: str | None
    table: Table


def compression_of(run: Run) -> Compression | None:
    """The search behind a compressed run; None for others.

    Raises:
        RunError: It is damaged.
    """
    folder = run.folder / FOLDER
    if not (folder / SEARCH).is_file():
        return None
    search = read_search(folder)
    return Compression(
        source=search.source.rstrip("/").rpartition("/")[2],
        limits=search.limits.words(),
        plot=png_uri(folder / FRONTIER_PNG),
        table=frontier_table(search),
    )
