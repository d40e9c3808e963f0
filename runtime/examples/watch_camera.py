"""Classifies a camera's frames as they come; here the camera is a folder of pictures on repeat.

python watch_camera.py malaria.tflite cells/

Exit status: 0 done, 1 failed, 3 done with some frames skipped.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from edgecell_runtime import Classifier, EdgecellError, ImageError
from edgecell_runtime.images import SUFFIXES

FRAMES_A_SECOND = 30
FRAMES = 300


async def camera(pictures: Sequence[Path]) -> AsyncIterator[Path]:
    """Stands for the driver of yours: it gives a frame when there is one."""
    for picture in itertools.islice(itertools.cycle(pictures), FRAMES):
        yield picture  # or a uint8 array (height, width, 3), RGB
        await asyncio.sleep(1 / FRAMES_A_SECOND)


async def main(model: str, folder: Path) -> int:
    """Prints positive frames, and at the end how many gave way to newer ones."""
    pictures = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not pictures:
        print(f"{folder} is no folder with images in it; check the path.", file=sys.stderr)
        return 1
    skipped = 0
    try:
        with Classifier.open(model) as classifier:
            print(f"{classifier.engine}: {classifier.engine_report[-1].reason}")
            # One bad frame must not end the watch: with return_exceptions it is an answer.
            async with classifier.stream(camera(pictures), return_exceptions=True) as stream:
                async for answer in stream:
                    if isinstance(answer, ImageError):
                        print(f"frame {stream.frame}: {answer}", file=sys.stderr)
                        skipped += 1
                    elif answer.positive:
                        print(f"frame {stream.frame}: {answer.probability:.3f}")
                print(f"{stream.dropped} of {FRAMES} frames were dropped.")
    except EdgecellError as error:
        print(error, file=sys.stderr)
        return 1
    return 3 if skipped else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
