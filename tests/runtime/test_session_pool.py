"""Sessions that are shared between threads, closed under way, and met again after a fork."""

import os
import signal
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.base import Session
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError
from edgecell_runtime.session_pool import SessionPool

PIXELS = models.random_pixels(1)


class Watched(Session):
    """Notes how many callers are inside at once, and waits for leave to go on."""

    def __init__(self, leave: threading.Event) -> None:
        self.signature = artifacts.signature()
        self.inside = self.most_inside = 0
        self.entered = threading.Event()
        self._leave = leave

    def run(self, inputs: Sequence[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self._leave.wait(20)
        self.inside -= 1
        return (np.zeros((1, 2), np.float32),)

    def close(self) -> None:
        assert self.inside == 0, "closed while it was running"


def callers(pool: SessionPool, count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=pool.run, args=((PIXELS,),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(20)
    return not any(thread.is_alive() for thread in threads)


def test_one_session_takes_one_caller_at_a_time() -> None:
    leave = threading.Event()
    session = Watched(leave)
    threads = callers(SessionPool([session]), 4)
    assert session.entered.wait(20)
    leave.set()
    assert joined(threads)
    assert session.most_inside == 1


def test_two_sessions_take_two_callers_side_by_side() -> None:
    leave = threading.Event()
    sessions = [Watched(leave), Watched(leave)]
    threads = callers(SessionPool(sessions), 4)
    assert all(session.entered.wait(20) for session in sessions)
    leave.set()
    assert joined(threads)
    assert [session.most_inside for session in sessions] == [1, 1]


def test_session_is_lent_again_after_it_failed() -> None:
    pool = SessionPool([FakeSession(artifacts.signature(1), lambda pixels: np.zeros((1, 2)))])
    for _ in range(2):
        with pytest.raises(EngineError, match="another number, dtype or shape"):
            pool.run((models.random_pixels(2),))
    assert pool.run((PIXELS,))[0].shape == (1, 2)


def test_close_waits_for_the_call_under_way_and_refuses_the_next() -> None:
    leave = threading.Event()
    session = Watched(leave)
    pool = SessionPool([session, FakeSession(artifacts.signature(), lambda pixels: pixels)])
    running = callers(pool, 1)
    assert session.entered.wait(20)
    closing = threading.Thread(target=pool.close)
    closing.start()
    leave.set()
    assert joined([*running, closing])


def test_closed_pool_refuses_calls_and_closes_again() -> None:
    pool = SessionPool([FakeSession(artifacts.signature(), lambda pixels: pixels)])
    pool.close()
    pool.close()
    for _ in range(2):
        with pytest.raises(EngineError, match="The session is closed"):
            pool.run((PIXELS,))


class Stubborn(FakeSession):
    """Cannot be closed."""

    def __init__(self) -> None:
        super().__init__(artifacts.signature(), lambda pixels: pixels)

    def close(self) -> None:
        super().close()
        raise EngineError("It does not close.")


def test_all_sessions_are_closed_when_one_refuses() -> None:
    sessions = [FakeSession(artifacts.signature(), lambda pixels: pixels) for _ in range(2)]
    pool = SessionPool([sessions[0], Stubborn(), sessions[1]])
    with pytest.raises(EngineError, match="It does not close"):
        pool.close()
    for session in sessions:
        with pytest.raises(EngineError, match="The session is closed"):
            session.run((PIXELS,))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_interrupts_lose_no_session() -> None:
    pool = SessionPool([FakeSession(artifacts.signature(), lambda pixels: pixels)])
    interrupts = 0

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        while interrupts < 3000 and pool._free.qsize() <= 1:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001)
                while True:
                    pool.run((PIXELS,))
            except KeyboardInterrupt:
                interrupts += 1
                if pool._free.qsize() == 0:
                    break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (interrupts, pool._free.qsize()) == (3000, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_forked_child_is_told_so_and_does_not_hang() -> None:
    session = FakeSession(artifacts.signature(), lambda pixels: np.zeros((len(pixels), 2)))
    classifier = Classifier(session, artifacts.tiny_manifest())
    classifier._inference.session._free.get()  # as if it were in use
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            classifier.predict(PIXELS[0])
            message = "it answered"
        except EngineError as error:
            message = str(error)
        classifier.close()
        os.write(writing, message.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        assert "opened before this process was forked" in pipe.read()
