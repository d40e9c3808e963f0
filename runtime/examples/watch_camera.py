"""Classifies a camera's frames as they come; here the camera is a folder of pictures on repeat.

python watch_camera.py malaria.tflite cells/
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from edgecell_runtime import Classifier, EdgecellError

FRAMES_A_SECOND = 30
FRAMES = 300


async def camera(folder: Path) -> AsyncIterator[Path]:
    """Stands for the driver of yours: it gives a frame when there is one."""
    pictures = itertools.cycle(sorted(folder.glob("*.png")))
    for picture in itertools.islice(pictures, FRAMES):
        yield picture  # or a uint8 array (height, width, 3), RGB
        await asyncio.sleep(1 / FRAMES_A_SECOND)


async def main(model: str, folder: Path) -> int:
    """Prints positive frames, and at the end how many gave way to newer ones."""
    try:
        with Classifier.open(model) as classifier:
            print(f"{classifier.engine}: {classifier.engine_report[-1].reason}")
            async with classifier.stream(camera(folder)) as stream:
                async for prediction in stream:
                    if prediction.positive:
                        print(f"frame {stream.frame}: {prediction.probability:.3f}")
                print(f"{stream.dropped} of {FRAMES} frames were dropped.")
    except EdgecellError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
