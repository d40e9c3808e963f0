"""The console script: checks that the command line is installed, then runs it."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Runs ``edgecell``; exits with 0 done, 1 failed or refused, 2 wrong usage, 3 some skipped."""
    _open_closed_streams()
    try:
        from edgecell.cli import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "httpx"):
            raise
        sys.exit(
            "The edgecell command line is not installed: pip install 'edgecell[cli]', or "
            "'edgecell[all]' to train and export too. Device software uses edgecell_runtime, which "
            "needs none of it."
        )
    sys.exit(run())


def _open_closed_streams() -> None:
    """Gives a process that was started with closed streams silent ones, as some services do it.

    Else the first file that is opened takes a stream's number, and is written to as that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


if __name__ == "__main__":
    main()
