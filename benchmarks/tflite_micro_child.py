"""Runs a file in TFLite Micro, with an arena of so many bytes: a program of its own.

A process of its own, since an arena that is too small may end it with a segmentation fault.

    python tflite_micro_child.py MODEL.tflite PIXELS.npy OUTPUTS.npy ARENA_BYTES

What TFLite Micro allocated is on standard error, in its own words.
"""

import sys
from pathlib import Path

import numpy as np


def main(model: str, pixels: str, outputs: str, arena: str) -> None:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(Path(model).read_bytes(), arena_size=int(arena))
    answers = []
    for image in np.load(pixels):
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        answers.append(interpreter.get_output(0)[0])
    interpreter.print_allocations()
    np.save(outputs, np.stack(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
