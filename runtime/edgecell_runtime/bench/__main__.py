"""``python -m edgecell_runtime.bench JOB_FOLDER OUT_FOLDER``: measures a job, on any machine.

Reads ``job.json`` and what it names from the first folder, and writes ``benchmark.json`` and
``answers.npz`` to the second. Progress goes to standard output, a JSON object a line:
``{"done": 0.25, "words": "..."}``. Exit status 0, 1 where it failed, 2 where it was called wrongly,
130 where it was interrupted.
"""

import json
import signal
import sys
from pathlib import Path
from types import FrameType

from edgecell_runtime.bench.running import read_job, run_job, write_measurement
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.files import check_folder

INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup's
            signal.signal(number, _interrupt)
    try:
        if len(arguments) != 2:
            raise UsageError("Usage: python -m edgecell_runtime.bench JOB_FOLDER OUT_FOLDER")
        folder, out = map(Path, arguments)
        job = read_job(folder)
        check_folder(out)
        write_measurement(run_job(job, folder, say=_say), out)
    except EdgecellError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("Error: Interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _say(done: float, words: str) -> None:
    print(json.dumps({"done": round(done, 3), "words": words}), flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
