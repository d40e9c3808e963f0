"""Many images: decoded and classified in several threads, answered in order, in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from edgecell_runtime.errors import UsageError
from edgecell_runtime.session_pool import require_own_process

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CHUNK = 16
"""Images that a thread takes at once: enough that handing them over costs next to nothing."""


def map_in_order(
    answer: Callable[[list[Item]], list[Answer]],
    items: Iterable[Item],
    *,
    workers: int,
    chunk: int = CHUNK,
) -> Iterator[Answer]:
    """Answers items in their order, in several threads.

    Items are taken from the iterable in the caller's thread, at most ``chunk * (2 * workers + 1)``
    ahead of the answers that were handed out.

    Args:
        answer: Answers some items; called from the threads.
        items: Any iterable, with or without an end.
        workers: Threads.
        chunk: Items that a thread takes at once.

    Yields:
        One answer an item. What ``answer`` or the iterable raises comes out in its place, after
        the answers before it.

    Raises:
        UsageError: There are fewer than one worker.
    """
    if workers < 1:
        raise UsageError(f"Images are classified by at least one worker, not by {workers}.")
    source, process = iter(items), os.getpid()
    pending: deque[Future[list[Answer]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="edgecell") as pool:
        try:
            failure = None
            while failure is None:
                taken, failure = _take(source, chunk)
                if taken:
                    pending.append(pool.submit(answer, taken))
                if failure is None and len(taken) < chunk:
                    break
                while pending and (len(pending) > 2 * workers or pending[0].done()):
                    yield from pending.popleft().result()
                    require_own_process(process)
            while pending:
                yield from pending.popleft().result()
                require_own_process(process)
            if failure is not None:
                raise failure
        finally:
            for future in pending:
                future.cancel()


def _take(source: Iterator[Item], count: int) -> tuple[list[Item], Exception | None]:
    """The next items, and what the iterable raised after them."""
    taken: list[Item] = []
    try:
        taken.extend(islice(source, count))
    except Exception as error:  # noqa: BLE001 - the caller's, raised again in its place
        return taken, error
    return taken, None
