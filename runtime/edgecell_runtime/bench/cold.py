"""Cold starts: a new process for each, from before it is started to its first answer.

The files are in the system's page cache, as they are where a device restarts its program and not
itself; a start after boot also waits for the disk.
"""

from edgecell_runtime.bench.findings import ColdTime
from edgecell_runtime.bench.messages import Opened, Opening
from edgecell_runtime.bench.workers import Launch, WorkerProcess
from edgecell_runtime.errors import EngineError


def start_cold(opening: Opening, launch: Launch, number: int) -> tuple[ColdTime, Opened]:
    """Starts one process, and ends it after its first answer.

    Args:
        opening: What it measures.
        launch: How it is started.
        number: Of the round.

    Returns:
        Its times, and what it said when it was ready.

    Raises:
        EngineError: It failed, ended, or said nothing for too long.
    """
    with WorkerProcess(opening, launch) as worker:
        answered, reply = worker.receive()
    if reply.opened is None:
        raise EngineError("The measuring process gave no answer when it was started.")
    opened = reply.opened
    # One moment is taken from outside: each may be noticed late, where other processes wait too.
    total_ms = (answered - worker.started) / 1e6
    import_ms = total_ms - opened.since_import_ms
    return ColdTime(number, import_ms, opened.load_ms, opened.first_ms, total_ms), opened
