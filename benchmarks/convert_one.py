"""Converts one file in this process alone; ``converting.py`` starts it.

The last line of standard output is the most memory that the process held, in bytes.
"""

import sys
from pathlib import Path

from peer import Job
from peer_conversions import NOTHING, PEERS

from edgecell_export.pixels import PixelFile
from edgecell_runtime.measure import peak_memory_bytes
from edgecell_train.runs import find_run


def main() -> None:
    """Takes the file's name, the run, the images (empty: as the run has them), the work folder."""
    name, run_folder, data, work = sys.argv[1:]
    run, folder = find_run(Path(run_folder)), Path(work)
    peer = PEERS.get(name, NOTHING)
    target = folder / name
    temporary = target.with_name(f"new-{name}")
    calibration = PixelFile(folder / "calibration", run.record.preprocessing.shape)
    base = folder / peer.base
    peer.convert(Job(run, Path(data) if data else None, calibration, base, temporary))
    temporary.replace(target)
    print(f"\n{peak_memory_bytes() or 0}")


if __name__ == "__main__":
    main()
