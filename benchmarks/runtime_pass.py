"""One way from image files to labels, in this process alone; ``runtime_files.py`` starts it.

``python runtime_pass.py WAY MODEL LIST`` says ``ready``. For each line of standard input it goes
once over the files that LIST names, one a line, and answers with one line: the number of each
file's label, without spaces. The ways that take decoded pixels decode before they are ready.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.threads import allowed_cpus

Pass = Callable[[str], Sequence[int]]
"""Goes once over the files; takes the line that asked for it."""


def decode(path: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What any way has to do to a file, and nothing that Pillow could be spared."""
    with Image.open(path) as image:
        colours = image if image.mode == "RGB" else image.convert("RGB")
        return np.asarray(colours.resize(size, Image.Resampling.BILINEAR))


def decoding(model: str, paths: list[str]) -> Pass:
    """Decodes and resizes; every label is 0."""
    size = _size(model)

    def go(_: str) -> Sequence[int]:
        for path in paths:
            decode(path, size)
        return [0] * len(paths)

    return go


def bare(model: str, paths: list[str]) -> Pass:
    """A plain loop: decode, resize, invoke, argmax; the engine has one thread."""
    size, run = _size(model), bare_engine(model)
    return lambda _: [int(np.argmax(run(decode(path, size)[np.newaxis])[0])) for path in paths]


def engine(model: str, paths: list[str]) -> Pass:
    """The engine alone, one thread, on decoded pixels; the line asked for is the batch size.

    Files that would make a last batch of another size are left out.
    """
    size, run = _size(model), bare_engine(model)
    pixels = np.stack([decode(path, size) for path in paths])

    def go(line: str) -> Sequence[int]:
        batch = int(line)
        answers = [
            np.argmax(run(pixels[start : start + batch]), axis=1)
            for start in range(0, len(pixels) - batch + 1, batch)
        ]
        return [int(label) for label in np.concatenate(answers)]

    return go


def predict(model: str, paths: list[str]) -> Pass:
    """``predict`` in a plain loop."""
    classifier = Classifier.open(model)
    numbers = {label: number for number, label in enumerate(classifier.labels)}
    return lambda _: [numbers[classifier.predict(path).label] for path in paths]


def predict_many(model: str, paths: list[str]) -> Pass:
    """``predict_many``, the classifier opened with nothing said."""
    return _many(Classifier.open(model), paths)


def predict_many_pool(model: str, paths: list[str]) -> Pass:
    """``predict_many`` with a session of one thread for each CPU."""
    return _many(Classifier.open(model, sessions=allowed_cpus(), threads=1), paths)


def course(model: str, paths: list[str]) -> Pass:
    """The course's script, TensorFlow imported and the model loaded before."""
    sys.path.insert(0, str(Path(__file__).parent / "bare_scripts"))
    import keras
    from course import labels_of

    loaded = keras.models.load_model(model, compile=False, safe_mode=True)
    return lambda _: labels_of(loaded, paths)


WAYS: Final = {
    way.__name__: way
    for way in (decoding, bare, engine, predict, predict_many, predict_many_pool, course)
}


def bare_engine(model: str) -> Callable[[NDArray[np.uint8]], NDArray[np.generic]]:
    """A function from uint8 (n, height, width, channels) to what the graph answers."""
    if model.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda pixels: np.asarray(session.run(None, {name: pixels})[0])
    return _LiteRT(model)


class _LiteRT:
    def __init__(self, model: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=model, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._batch = 1

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        if len(pixels) != self._batch:
            # Not strict: also a graph whose batch is written as 1 mostly runs on more.
            self._interpreter.resize_tensor_input(self._input, pixels.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(pixels)
        self._interpreter.set_tensor(self._input, pixels)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output))


def _many(classifier: Classifier, paths: list[str]) -> Pass:
    numbers = {label: number for number, label in enumerate(classifier.labels)}

    def answers() -> Iterator[Prediction]:
        return classifier.predict_many(paths)

    return lambda _: [numbers[prediction.label] for prediction in answers()]


def _size(model: str) -> tuple[int, int]:
    with Classifier.open(model, threads=1) as classifier:
        spec = classifier.manifest.preprocessing
    return spec.width, spec.height


def serve(go: Pass, lines: Iterator[str], out: TextIO) -> None:
    """Answers each line with one pass over the files."""
    for line in itertools.chain(["ready"], lines):
        answer = "ready" if line == "ready" else "".join(map(str, go(line.strip())))
        print(answer, file=out, flush=True)


def main() -> None:
    """Takes the way, the model and the file with the names."""
    way, model, names = sys.argv[1:]
    paths = Path(names).read_text(encoding="utf-8").splitlines()
    serve(WAYS[way](model, paths), iter(sys.stdin), sys.stdout)


if __name__ == "__main__":
    main()
