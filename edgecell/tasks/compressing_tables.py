"""What ``edgecell compress`` shows, for people and for machines."""

from edgecell.console import Table
from edgecell.tasks.compressing import Compressed
from edgecell.tasks.frontier_table import frontier_table
from edgecell.tasks.training import result_table
from edgecell_runtime import codec
from edgecell_runtime.codec import Json


def tables(found: Compressed) -> list[Table]:
    """The frontier, and the figures on the test patients."""
    return [frontier_table(found.search), result_table(found.run)]


def document(found: Compressed) -> Json:
    """The run's record, and the search beside it."""
    record = codec.encode(found.run.record)
    assert isinstance(record, dict)
    return {"run": str(found.run.folder), **record, "compression": codec.encode(found.search)}
