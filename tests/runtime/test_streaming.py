"""Cameras: the newest frame wins, drops are counted, the event loop goes on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import ImageError

Pixels = NDArray[np.uint8]
CELLS = list(models.random_pixels(8))


class Slow:
    """A graph that waits until it is told to go on, once a frame."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)

    def __call__(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        self.started.release()
        assert self.leave.acquire(timeout=20)
        return models.expected_logits(pixels.astype(np.uint8))


def classifier_of(answer: object = models.expected_logits) -> Classifier:
    manifest = artifacts.tiny_manifest()
    return Classifier(FakeSession(manifest.signature, answer), manifest)


async def wait_for(semaphore: threading.Semaphore) -> None:
    assert await asyncio.to_thread(semaphore.acquire, timeout=20)


def test_frames_are_answered_in_order_when_the_camera_is_slower() -> None:
    classifier = classifier_of()
    expected = [classifier.predict(cell) for cell in CELLS]

    async def main() -> None:
        answered = asyncio.Event()

        async def camera() -> AsyncIterator[Pixels]:
            for cell in CELLS:
                answered.clear()
                yield cell
                await answered.wait()

        stream = classifier.stream(camera())
        found = []
        async for prediction in stream:
            found.append(prediction)
            answered.set()
        assert found == expected
        assert (stream.dropped, stream.frame) == (0, len(CELLS) - 1)

    asyncio.run(main())


def test_newest_frame_wins_when_the_camera_is_faster() -> None:
    slow = Slow()
    classifier = classifier_of(slow)

    async def main() -> tuple[list[Prediction], list[int], int]:
        frames: asyncio.Queue[Pixels | None] = asyncio.Queue()

        async def camera() -> AsyncIterator[Pixels]:
            while (frame := await frames.get()) is not None:
                yield frame

        async with classifier.stream(camera()) as stream:
            frames.put_nowait(CELLS[0])
            first = asyncio.ensure_future(stream.__anext__())
            await wait_for(slow.started)
            for cell in CELLS[1:]:  # all of them come while the first is classified
                frames.put_nowait(cell)
            frames.put_nowait(None)
            while not frames.empty():
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            slow.leave.release()
            numbers, answers = [], [await first]
            numbers.append(stream.frame)
            slow.leave.release()
            async for prediction in stream:
                answers.append(prediction)
                numbers.append(stream.frame)
            return answers, numbers, stream.dropped

    answers, numbers, dropped = asyncio.run(main())
    fast = classifier_of()
    assert answers == [fast.predict(CELLS[0]), fast.predict(CELLS[-1])]
    assert numbers == [0, len(CELLS) - 1]
    assert dropped == len(CELLS) - 2


def test_plain_iterable_is_read_in_a_thread_and_its_last_frame_is_answered() -> None:
    readers = set()

    def camera() -> Iterator[Pixels]:
        for cell in CELLS:
            readers.add(threading.current_thread().name)
            yield cell

    async def main() -> tuple[list[Prediction], int]:
        stream = classifier_of().stream(camera())
        return [prediction async for prediction in stream], stream.dropped

    answers, dropped = asyncio.run(main())
    assert readers == {"edgecell-camera"}
    assert len(answers) + dropped == len(CELLS)
    assert answers[-1] == classifier_of().predict(CELLS[-1])


def test_event_loop_goes_on_while_a_frame_is_classified() -> None:
    slow = Slow()

    async def main() -> int:
        stream = classifier_of(slow).stream([CELLS[0]])
        answer = asyncio.ensure_future(stream.__anext__())
        await wait_for(slow.started)
        turns = 0
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        assert not answer.done()
        slow.leave.release()
        await answer
        return turns

    assert asyncio.run(main()) == 100


def test_unreadable_frame_ends_the_stream_or_is_an_answer() -> None:
    async def main(return_exceptions: bool) -> list[object]:
        frames = [b"no image"]
        if return_exceptions:
            stream = classifier_of().stream(frames, return_exceptions=True)
            return [answer async for answer in stream]
        return [answer async for answer in classifier_of().stream(frames)]

    with pytest.raises(ImageError, match="not an image"):
        asyncio.run(main(False))
    (answer,) = asyncio.run(main(True))
    assert isinstance(answer, ImageError)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_error_of_the_camera_comes_after_the_last_answer(asynchronous: bool) -> None:
    def camera() -> Iterator[Pixels]:
        yield CELLS[0]
        raise OSError("the cable is out")

    async def async_camera() -> AsyncIterator[Pixels]:
        for cell in camera():
            yield cell

    async def main() -> list[Prediction]:
        stream = classifier_of().stream(async_camera() if asynchronous else camera())
        answers = [await stream.__anext__()]
        with pytest.raises(OSError, match="the cable is out"):
            await stream.__anext__()
        return answers

    assert asyncio.run(main()) == [classifier_of().predict(CELLS[0])]


def test_frames_that_never_end_and_never_wait_leave_the_loop_to_others() -> None:
    async def endless() -> AsyncIterator[Pixels]:
        while True:
            yield CELLS[0]

    async def main() -> int:
        answers = 0
        async with classifier_of().stream(endless()) as stream:
            async for _ in stream:
                answers += 1
                if answers == 3:
                    break
        return answers

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 3


def test_camera_is_let_go_when_the_stream_is_closed() -> None:
    ended = threading.Event()

    def camera() -> Iterator[Pixels]:
        try:
            while True:
                time.sleep(0.001)
                yield CELLS[0]
        finally:
            ended.set()

    async def main() -> None:
        async with classifier_of().stream(camera()) as stream:
            await stream.__anext__()

    asyncio.run(main())
    assert ended.wait(20)


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_answers_end_when_the_camera_is_stopped_from_outside(
    asynchronous: bool, error: type[BaseException]
) -> None:
    class Camera:
        def __iter__(self) -> Iterator[Pixels]:
            return self  # type: ignore[return-value]

        def __next__(self) -> Pixels:
            raise error

    class AsyncCamera:
        def __aiter__(self) -> AsyncIterator[Pixels]:
            return self  # type: ignore[return-value]

        async def __anext__(self) -> Pixels:
            raise error

    async def main() -> None:
        stream = classifier_of().stream(AsyncCamera() if asynchronous else Camera())
        with pytest.raises(error):
            await asyncio.wait_for(stream.__anext__(), 20)

    asyncio.run(main())


def test_camera_has_let_go_when_the_stream_is_closed() -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def camera() -> AsyncIterator[Pixels]:
            try:
                while True:
                    yield CELLS[0]
                    await asyncio.sleep(0.001)
            finally:
                events.append("let go")

        async with classifier_of().stream(camera()) as stream:
            await stream.__anext__()
            assert events == []
        return events

    assert asyncio.run(main()) == ["let go"]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_answers_end_when_another_task_closes_the_stream(asynchronous: bool) -> None:
    """While one task waits for a frame that never comes."""
    forever = threading.Event()

    def camera() -> Iterator[Pixels]:
        yield CELLS[0]
        assert forever.wait(20)

    async def async_camera() -> AsyncIterator[Pixels]:
        yield CELLS[0]
        await asyncio.Event().wait()

    async def main() -> list[Prediction]:
        stream = classifier_of().stream(async_camera() if asynchronous else camera())
        answers = [await stream.__anext__()]

        async def rest() -> None:
            answers.extend([answer async for answer in stream])

        waiting = asyncio.ensure_future(rest())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await asyncio.wait_for(stream.aclose(), 20)
        await asyncio.wait_for(waiting, 20)
        await stream.aclose()
        return answers

    try:
        assert asyncio.run(main()) == [classifier_of().predict(CELLS[0])]
    finally:
        forever.set()


def test_frame_that_is_being_classified_is_answered_when_another_task_closes_the_stream() -> None:
    slow = Slow()

    async def main() -> list[Prediction]:
        stream = classifier_of(slow).stream([CELLS[0]] * 3)

        async def all_of_them() -> list[Prediction]:
            return [answer async for answer in stream]

        waiting = asyncio.ensure_future(all_of_them())
        await wait_for(slow.started)
        closing = asyncio.ensure_future(stream.aclose())
        await asyncio.sleep(0.01)
        assert not closing.done()
        slow.leave.release()
        await asyncio.wait_for(closing, 20)
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(main()) == [classifier_of().predict(CELLS[0])]


def test_several_tasks_share_the_answers() -> None:
    async def main() -> tuple[list[Prediction], int]:
        stream = classifier_of().stream(CELLS)

        async def some() -> list[Prediction]:
            return [answer async for answer in stream]

        first, second = await asyncio.wait_for(asyncio.gather(some(), some()), 20)
        return first + second, stream.dropped

    answers, dropped = asyncio.run(main())
    assert len(answers) + dropped == len(CELLS)
