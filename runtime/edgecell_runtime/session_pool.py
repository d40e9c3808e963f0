"""Several sessions of one model behind one: safe to call from any thread, refused after a fork."""

import contextlib
import os
import queue
import threading
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError

_PATIENCE_SECONDS = 10.0
"""How long ``close`` waits for a call that is under way."""


def require_own_process(process: int) -> None:
    """Refuses to go on in a child that was forked.

    Args:
        process: The number of the process that opened the model.

    Raises:
        EngineError: This is another one.
    """
    if os.getpid() != process:
        raise EngineError(
            "The classifier was opened before this process was forked, and engines do not survive "
            "that; open it in each process, or start processes with `spawn`."
        )


class SessionPool(Session):
    """Lends each call a session that nobody else uses; with one session, it is a lock.

    Args:
        sessions: Of the same model, at least one; the pool closes them.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.signature = sessions[0].signature
        self.size = len(sessions)
        self._free: queue.SimpleQueue[Session] = queue.SimpleQueue()
        for session in sessions:
            self._free.put(session)
        self._taking = iter(self._free.get, None)
        self._process = os.getpid()
        self._closing = threading.Lock()
        self._closed = False

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        """Runs the graph in a session that is free, or as soon as one is.

        Raises:
            EngineError: The engine failed, the pool is closed, or this is a forked process, in
                which an engine's threads do not exist and a call might never return.
        """
        require_own_process(self._process)
        borrowed: list[Session] = []
        try:
            # Taken and noted in one step: Ctrl-C between two would lose the session for good.
            borrowed.extend(islice(self._taking, 1))
            return borrowed[0].run(inputs)
        finally:
            for session in borrowed:
                self._free.put(session)

    def run_together(
        self, inputs: Sequence[NDArray[np.generic]]
    ) -> tuple[NDArray[np.generic], ...]:
        """As ``run``, with more images at once than the signature's batch; see ``Session``."""
        # The lines of ``run`` once more: a context manager for both loses sessions to Ctrl-C.
        require_own_process(self._process)
        borrowed: list[Session] = []
        try:
            borrowed.extend(islice(self._taking, 1))
            return borrowed[0].run_together(inputs)
        finally:
            for session in borrowed:
                self._free.put(session)

    def close(self) -> None:
        """Frees the model, once calls that are under way have ended; later ones are refused."""
        if os.getpid() != self._process:
            return  # the sessions are the other process's
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with contextlib.ExitStack() as stack:
                for _ in range(self.size):
                    try:
                        session = self._free.get(timeout=_PATIENCE_SECONDS)
                    except queue.Empty:  # it is freed with the last reference to it
                        continue
                    stack.callback(self._free.put, session)  # it says itself that it is closed
                    stack.callback(session.close)
