"""One call with pixels of the right size, against the engine's own call, in one process."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from runtime_rows import Goal, Row, Words, compare

from edgecell_runtime.classifier import Classifier

GOAL: Final = Goal("difference", "at most", 15.0)
BLOCK: Final = 20
"""Calls of one contender in a row; their median counts, which an interruption does not move."""

BLOCKS_AN_OPENING: Final = 5
"""Sessions are opened anew now and then: where one's memory lies changes what its calls take."""


@dataclass(frozen=True)
class Contender:
    """A call that is measured.

    Attributes:
        words: What it does.
        call: Does it once.
    """

    words: str
    call: Callable[[], object]


def calls(model: Path, rounds: int, generator: np.random.Generator) -> list[Row]:
    """``predict`` against the bare engine; one thread each.

    Args:
        model: An artifact.
        rounds: Openings; each has ``BLOCKS_AN_OPENING`` blocks of ``BLOCK`` calls.
        generator: Of orders and pixels.
    """
    blocks: list[NDArray[np.float64]] = []
    names: list[str] = []
    for _ in range(rounds):
        with closing(Classifier.open(model, threads=1)) as classifier:
            shape = classifier.manifest.preprocessing.shape
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            predict = Contender("predict(array)", lambda: classifier.predict(pixels))  # noqa: B023
            contenders = [predict, *bare_calls(model, pixels)]
            names = [contender.words for contender in contenders]
            blocks += [_block(contenders, generator) for _ in range(BLOCKS_AN_OPENING)]
    times = np.array(blocks).T
    return [
        compare(Words("one call", model.name, names[0], name, "us"), times[0], times[number], GOAL)
        for number, name in enumerate(names[1:], 1)
    ]


def _block(contenders: list[Contender], generator: np.random.Generator) -> NDArray[np.float64]:
    """float64 (contenders,), microseconds a call."""
    found = np.empty(len(contenders))
    for number in generator.permutation(len(contenders)):
        call = contenders[number].call
        for _ in range(3):  # its weights come back into the caches
            call()
        times = np.empty(BLOCK)
        for turn in range(BLOCK):
            began = time.perf_counter_ns()
            call()
            times[turn] = time.perf_counter_ns() - began
        found[number] = np.median(times) / 1e3
    return found


def bare_calls(model: Path, pixels: NDArray[np.uint8]) -> list[Contender]:
    """The engine's own calls for pixels (height, width, channels), with one thread."""
    batch = pixels[np.newaxis]
    if model.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        feed = {session.get_inputs()[0].name: batch}
        return [Contender("session.run", lambda: session.run(None, feed))]
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    wanted = interpreter.get_input_details()[0]["index"]
    answer = interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(wanted, batch)

    def whole() -> object:
        interpreter.set_tensor(wanted, batch)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return [
        Contender("invoke", interpreter.invoke),
        Contender("set_tensor, invoke, get_tensor", whole),
    ]
