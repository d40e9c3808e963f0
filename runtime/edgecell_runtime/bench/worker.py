"""The process that measures one target: ``python -m edgecell_runtime.bench.worker``.

It does nothing on its own. It reads an ``Opening`` and then ``Command`` records from standard
input, and answers each with a ``Reply`` on standard output, until its input ends. What engines
print goes to standard error.
"""

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from edgecell_runtime import codec
from edgecell_runtime.bench import loop
from edgecell_runtime.bench.messages import Command, Measured, Opened, Opening, Reply, Warmed
from edgecell_runtime.bench.pinning import pin
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.bench.scenarios import Queries, Rotation, open_queries
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import SUFFIXES
from edgecell_runtime.engines import engines_for
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.records import dataclass

_AGAIN_SHARE: Final = 0.05
"""Of a turn, before it, not counted: the others' turns drove this one's data out of the caches and
let its threads fall asleep. One query at least."""

_LOOK_SECONDS: Final = 0.002
_LOOKS: Final = 50


@dataclass(frozen=True)
class Opener:
    """How targets are opened.

    Attributes:
        load_library: Imports the engine's library, which is no load time.
        open: Gives a classifier that is proved.
    """

    load_library: Callable[[Target], None]
    open: Callable[[Target], Classifier]


def load_library(target: Target) -> None:
    """Imports the library of the engine that will run a TFLite or ONNX file.

    Raises:
        EngineError: There is no such engine.
    """
    form = SUFFIXES.get(Path(target.artifact).suffix.lower())
    if form is None:  # opening it says what is wrong
        return
    with contextlib.suppress(ImportError):  # likewise
        importlib.import_module(engines_for(form, target.engine or None)[0].module)


def open_target(target: Target) -> Classifier:
    """Opens a TFLite or ONNX file; errors as in ``Classifier.open``."""
    return Classifier.open(
        target.artifact, engine=target.engine or None, threads=target.threads or None
    )


RUNTIME: Final = Opener(load_library, open_target)


class Worker:
    """What the process does with each record.

    Args:
        opener: How the target is opened.
        reply: Where replies go.
    """

    def __init__(self, opener: Opener, reply: Callable[[Reply], None]) -> None:
        self._opener = opener
        self._reply = reply
        self._classifier: Classifier | None = None
        self._queries: Queries | None = None
        self._subjects: dict[int, loop.Subject[Any, Any]] = {}
        self._asked: dict[tuple[str, int], int] = {}

    def open(self, opening: Opening) -> None:
        """Opens the target, and asks it for its first answer.

        Raises:
            EdgecellError: It cannot be opened, or the inputs are not there.
        """
        if opening.target is None:
            self._open_reference()
            return
        target = opening.target
        pin(target.cpus)
        self._opener.load_library(target)
        began = time.perf_counter_ns()
        classifier = self._classifier = self._opener.open(target)
        load_ms = (time.perf_counter_ns() - began) / 1e6
        rotation = Rotation(opening.images, opening.seed, opening.first_image)
        self._queries = open_queries(classifier, opening.stage, Path(opening.inputs), rotation)
        first = loop.time_block(self._subject(1).without_keeping(), -1, loop.Limits(0, 1))
        trials = classifier.engine_report
        engine = f"{classifier.engine} {trials[-1].version if trials else ''}".strip()
        first_ms, since_ms = first.durations[0] / 1e6, (time.perf_counter_ns() - began) / 1e6
        self._reply(Reply(opened=Opened(engine, classifier.threads, load_ms, first_ms, since_ms)))

    def run(self, command: Command) -> None:
        """Does one thing, and replies.

        Raises:
            EdgecellError: The engine failed, or an image cannot be read.
        """
        if command.action == "warm":
            self._reply(Reply(warmed=self._warm(command)))
        elif command.action == "work":
            limits = loop.Limits(command.seconds, command.queries)
            block = loop.time_block(self._subject(command.batch).without_keeping(), 0, limits)
            self._reply(Reply(warmed=Warmed(len(block.durations), True, None)))
        elif command.action == "save":
            self._save(Path(command.path))
            self._reply(Reply(step="saved"))
        else:
            block = self._measure(command)
            wait_until_idle()
            self._reply(
                Reply(
                    measured=Measured(tuple(block.durations), block.elapsed_ns, block.missed_ticks)
                )
            )

    def close(self) -> None:
        """Lets go of the inputs and the model."""
        if self._queries is not None:
            self._queries.close()
        if self._classifier is not None:
            self._classifier.close()

    def _open_reference(self) -> None:
        from edgecell_runtime.bench import reference

        kernel = reference.kernel()
        self._subjects[1] = loop.Subject(lambda query: query, lambda _query: kernel())
        self._reply(Reply(opened=Opened("reference")))

    def _subject(self, batch: int) -> loop.Subject[Any, Any]:
        if batch not in self._subjects:
            assert self._queries is not None, "the reference kernel knows no batches"
            self._subjects[batch] = self._queries.subject(batch)
        return self._subjects[batch]

    def _warm(self, command: Command) -> Warmed:
        from edgecell_runtime.bench.steadiness import warm_up  # a cold start has no use for it
        from edgecell_runtime.measure import peak_memory_bytes

        found = warm_up(self._subject(command.batch), command.seconds)
        peak = peak_memory_bytes() if set(self._subjects) == {1} else None
        return Warmed(found.queries, found.steady, peak)

    def _measure(self, command: Command) -> loop.Block:
        """Times a block, right after queries that are not counted."""
        subject = self._subject(command.batch)
        again = loop.Limits(
            0 if command.scenario == "paced" else command.seconds * _AGAIN_SHARE, command.queries
        )
        loop.time_block(subject.backwards(), 0, again)
        key = (command.scenario, command.batch)
        first = self._asked.get(key, 0)
        if command.action == "try":
            subject = subject.without_keeping()
        limits = loop.Limits(command.seconds, command.queries)
        if command.scenario == "paced":
            block = loop.time_paced_block(subject, first, limits, loop.Pace(command.rate_hz))
        else:
            block = loop.time_block(subject, first, limits)
        if command.action == "measure":
            self._asked[key] = first + len(block.durations)
        return block

    def _save(self, path: Path) -> None:
        if self._queries is not None:
            np.save(path, self._queries.probabilities())


def wait_until_idle() -> None:
    """Waits until this process's other threads sleep, 0.1 s at most.

    Some engines' threads wait for work in a loop, ONNX Runtime's for about 35 ms after a run if it
    is let; they would take a CPU from the next target.
    """
    idle = 0
    for _ in range(_LOOKS):
        began = time.process_time()
        time.sleep(_LOOK_SECONDS)
        idle = idle + 1 if time.process_time() - began < _LOOK_SECONDS / 5 else 0
        if idle == 2:
            return


def take_over() -> tuple[IO[bytes], IO[bytes]]:
    """Keeps standard input and output to ourselves; what others print goes to standard error."""
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


def main(opener: Opener = RUNTIME) -> int:
    """Serves until standard input ends; 1 where it had to give up, after it has said why."""
    commands, replies = take_over()

    def reply(message: Reply) -> None:
        replies.write(codec.dumps(message).encode() + b"\n")
        replies.flush()

    with contextlib.closing(Worker(opener, reply)) as worker:
        try:
            worker.open(codec.loads(Opening, commands.readline(), "opening"))
            for line in commands:
                worker.run(codec.loads(Command, line, "command"))
        except EdgecellError as error:
            reply(Reply(failed=str(error)))
            return 1
        except BrokenPipeError:  # whoever asked has gone
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
