"""One epoch of the whole command; ``train_one_epoch.py DATA PRESET FOLDER``; prints KiB."""

import sys
from pathlib import Path

from edgecell import console
from edgecell.tasks.training import train_run
from edgecell.tasks.training_request import Request, options_of

console.set_quiet(True)
options = options_of({"data": Path(sys.argv[1]), "preset": sys.argv[2], "epochs": 1})
train_run(Request(options), Path(sys.argv[3]) / "runs")
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(line.split()[1], flush=True)
