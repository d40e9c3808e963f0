"""A camera's frames, answered as they come: the newest wins where the camera is faster."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from edgecell_runtime.images import ImageSource

Frames = AsyncIterable[ImageSource] | Iterable[ImageSource]
Answer = TypeVar("Answer")

_PATIENCE_SECONDS = 1.0
"""How long the end of a stream waits for a camera to let go."""


class PredictionStream(Generic[Answer]):
    """Answers for the frames that were not dropped, in order; see ``Classifier.stream``.

    Several tasks may wait for answers: each answer goes to one of them, in turn.

    Args:
        predict: Answers one frame; called from a thread of the stream's own.
        frames: Where they come from; a plain iterable is read in a thread of its own.
    """

    def __init__(self, predict: Callable[[ImageSource], Answer], frames: Frames) -> None:
        self._slot = _Slot()
        self._turn = asyncio.Lock()  # a generator refuses whoever comes while it is at work
        self._answers = _answer_newest(predict, frames, self._slot)

    @property
    def dropped(self) -> int:
        """Frames so far that gave way to a newer one."""
        return self._slot.dropped

    @property
    def frame(self) -> int:
        """Which frame was taken last, counted from 0; -1 before the first."""
        return self._slot.taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Answer:
        async with self._turn:
            return await self._answers.__anext__()

    async def aclose(self) -> None:
        """Stops taking frames and lets the camera go; any task may call it.

        Whoever waits for a frame is told that there are no more; a frame that is being classified
        is still answered. A second call does nothing.
        """
        self._slot.close()
        async with self._turn:
            await self._answers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Slot:
    """Room for one frame, the newest, between the camera's thread or task and the answering."""

    def __init__(self) -> None:
        self.dropped = 0
        self.taken = -1
        self.closed = False
        self._lock = threading.Lock()
        self._waiting: list[ImageSource] = []  # none or one
        self._count = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()

    def put(self, frame: ImageSource, loop: asyncio.AbstractEventLoop) -> None:
        """Lays a frame down; one that was not taken yet is dropped."""
        with self._lock:
            self.dropped += len(self._waiting)
            self._waiting = [frame]
            self._count += 1
        self._wake(loop)

    def end(self, loop: asyncio.AbstractEventLoop, failure: BaseException | None = None) -> None:
        """Says that no frame comes any more, and what the camera raised."""
        with self._lock:
            self._ended, self._failure = True, failure
        self._wake(loop)

    def close(self) -> None:
        """Says, in the loop's thread, that no frame is wanted any more."""
        self.closed = True
        self._changed.set()

    async def take(self) -> list[ImageSource]:
        """The newest frame, waited for; none where there are no more, or none is wanted.

        Raises:
            BaseException: What the camera raised, after its last frame was taken.
        """
        while True:
            with self._lock:
                if self.closed:
                    return []
                if self._waiting:
                    taken, self._waiting = self._waiting, []
                    self.taken = self._count - 1
                    return taken
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    return []
                self._changed.clear()
            await self._changed.wait()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._changed.is_set():  # or a camera without a pause would fill the loop's queue
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._changed.set)


async def _answer_newest(
    predict: Callable[[ImageSource], Answer], frames: Frames, slot: _Slot
) -> AsyncGenerator[Answer, None]:
    loop = asyncio.get_running_loop()
    task = _start_camera(frames, slot, loop)
    worker = ThreadPoolExecutor(1, thread_name_prefix="edgecell-stream")
    try:
        while taken := await slot.take():
            yield await loop.run_in_executor(worker, predict, taken[0])
    finally:
        worker.shutdown(wait=False)
        slot.closed = True
        if task is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                task.cancel()
                await asyncio.wait([task], timeout=_PATIENCE_SECONDS)


def _start_camera(
    frames: Frames, slot: _Slot, loop: asyncio.AbstractEventLoop
) -> asyncio.Task[None] | None:
    """Fills the slot from now on, in a task, or in a thread that ends once the slot is closed."""
    if isinstance(frames, AsyncIterable):
        return loop.create_task(_film(frames, slot, loop))
    camera = threading.Thread(
        target=_film_in_thread, args=(frames, slot, loop), name="edgecell-camera", daemon=True
    )
    camera.start()
    return None


async def _film(
    frames: AsyncIterable[ImageSource], slot: _Slot, loop: asyncio.AbstractEventLoop
) -> None:
    try:
        async for frame in frames:
            slot.put(frame, loop)
            await asyncio.sleep(0)  # frames that are there at once would let nobody else run
    except BaseException as error:  # whoever waits for answers must not wait for ever
        slot.end(loop, error)
        if not isinstance(error, Exception):
            raise
    else:
        slot.end(loop)


def _film_in_thread(
    frames: Iterable[ImageSource], slot: _Slot, loop: asyncio.AbstractEventLoop
) -> None:
    try:
        for frame in frames:
            if slot.closed:
                return
            slot.put(frame, loop)
    except BaseException as error:  # noqa: BLE001 - as above; a thread has nobody to raise it to
        slot.end(loop, error)
    else:
        slot.end(loop)
