"""The CPUs that a process may run on, and the threads of it that really worked."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecell_runtime.errors import UsageError

_ROOT = Path("/")

WORKING_SHARE: Final = 0.1
"""A thread worked if it ran for this share of the busiest one's time, or more. An engine's threads
share its work evenly; loggers, timers and threads that only wait run far less."""


def pin(cpus: Sequence[int], root: Path = _ROOT) -> None:
    """Lets this process run on these CPUs only: its threads, and those that they start later.

    Args:
        cpus: Numbers as in ``/proc/cpuinfo``; none leaves the process as it is.
        root: The folder under which ``proc`` is looked for.

    Raises:
        UsageError: The system cannot pin, or a CPU does not exist or is not allowed.
    """
    if not cpus:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError(
            "This system cannot pin a process to CPUs, as only Linux can; leave the option out."
        )
    allowed = os.sched_getaffinity(0)
    refused = sorted(set(cpus) - allowed)
    if refused:
        raise UsageError(
            f"The process cannot be pinned to the CPUs {_listed(refused)}: it may use "
            f"{_listed(sorted(allowed))}. Name CPUs among those."
        )
    # The call is about one thread. Libraries, such as NumPy's BLAS, may have started others.
    for thread in (0, *_threads(root / "proc/self/task")):
        try:
            os.sched_setaffinity(thread, cpus)
        except ProcessLookupError:  # the thread has ended meanwhile
            continue
        except OSError as error:
            raise UsageError(
                f"The process could not be pinned to the CPUs {_listed(sorted(cpus))}: "
                f"{error.strerror}. Name other CPUs, or none."
            ) from error


def thread_times(pid: int | None = None, root: Path = _ROOT) -> dict[int, float]:
    """How long each thread of a process has run, in seconds of CPU time.

    Args:
        pid: Of the process; None takes this one.
        root: The folder under which ``proc`` is looked for.

    Returns:
        By thread number; empty where the system does not say.
    """
    folder = root / "proc" / ("self" if pid is None else str(pid)) / "task"
    times = ((thread, _seconds(folder / str(thread))) for thread in _threads(folder))
    return {thread: seconds for thread, seconds in times if seconds is not None}


def threads_seen(before: Mapping[int, float], after: Mapping[int, float]) -> int:
    """How many threads worked between two moments.

    A thread that waits in a loop, as some engines' do between two queries, counts as one that
    works: it takes a CPU. One that has ended before the second moment is not seen.

    Args:
        before: ``thread_times`` at the first moment.
        after: ``thread_times`` at the second.

    Returns:
        0 where nothing ran, or the system does not say.
    """
    ran = [seconds - before.get(thread, 0.0) for thread, seconds in after.items()]
    busiest = max(ran, default=0.0)
    return sum(seconds >= WORKING_SHARE * busiest for seconds in ran) if busiest > 0 else 0


def _threads(folder: Path) -> tuple[int, ...]:
    try:
        return tuple(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError:  # not Linux, or the process has ended
        return ()


def _seconds(folder: Path) -> float | None:
    """CPU time of a thread, from ``schedstat`` in nanoseconds, else from ``stat`` in ticks."""
    try:
        words = (folder / "schedstat").read_text().split()
        if words and words[0] != "0":  # a kernel without the statistics says "0 0 0"
            return int(words[0]) / 1e9
    except (OSError, ValueError):
        pass
    return _ticks_in_seconds(folder / "stat")


def _ticks_in_seconds(path: Path) -> float | None:
    try:
        # The name, in parentheses, may hold spaces and parentheses; after it comes field 3.
        fields = path.read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _listed(cpus: Sequence[int]) -> str:
    return ", ".join(str(cpu) for cpu in cpus)
