"""Opens hostile image files in a process of little memory, and says what became of each."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CHILD = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1536 << 20,) * 2)
from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import open_image

def resident(kind):
    with open("/proc/self/status") as status:
        return int(re.search(kind + r":\\s+(\\d+)", status.read())[1]) >> 10

for path in sys.argv[1:]:
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak starts again from here
    before, size, mode, refusal = resident("VmRSS"), None, None, None
    try:
        image = open_image(path)
        size, mode = image.size, image.mode
        del image
    except ImageError as error:
        refusal = str(error).replace(path, "image")
    print(json.dumps([size, mode, refusal, resident("VmHWM") - before]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        size: Width and height of the image; None where it was refused.
        mode: Of the image; None likewise.
        refusal: The error's sentence; None where there is an image.
        peak_megabytes: By which the process grew meanwhile.
    """

    size: tuple[int, int] | None
    mode: str | None
    refusal: str | None
    peak_megabytes: int


def outcomes(files: list[bytes], folder: Path, timeout_s: int = 60) -> list[Outcome]:
    """Opens each file within 1.5 GB of address space.

    Raises:
        subprocess.TimeoutExpired: They took longer all together.
        subprocess.CalledProcessError: Something else than an ImageError came out.
    """
    paths = [folder / f"bomb-{number}" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, paths)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        # Every thread of a linear algebra library reserves memory of its own.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    found = []
    for line in done.stdout.splitlines():
        size, mode, refusal, peak = json.loads(line)
        found.append(Outcome(tuple(size) if size else None, mode, refusal, peak))
    return found
