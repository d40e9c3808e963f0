"""The points of a compression as a table."""

from edgecell.console import Table
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.search import Search

_COLUMNS = (
    "net",
    "int8 file, bytes",
    "latency, ms",
    "times as fast as the source in float32",
    "MACs",
    "validation accuracy",
    "points lost",
)


def frontier_table(search: Search) -> Table:
    """What each file costs and loses, in the order of the search."""
    title = f"{search.name}: int8 TFLite, one thread, validation images"
    return Table(title, _COLUMNS, [_row(point) for point in search.points])


def _row(point: Point) -> tuple[str, ...]:
    names = {"source": "source, as int8", "step": f"step {point.step}", "final": "fine-tuned"}
    return (
        f"{names[point.kind]} (of no use)" if point.problem else names[point.kind],
        f"{point.size_bytes:,}",
        f"{point.latency_ms:.3g}",
        f"{point.speed:.1f}",
        f"{point.macs:,}",
        f"{point.accuracy:.4f}",
        f"{point.drop:+.2f}",
    )
