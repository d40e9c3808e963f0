"""The console script: checks that the command line is installed, then runs it."""

import os
import sys

from edgecell import interrupts


def main() -> None:
    """Runs ``edgecell``; exits with 0 done, 1 failed or refused, 2 wrong usage, 3 some skipped.

    Interrupted it exits with 130 after Ctrl-C and 143 after SIGTERM, whenever that comes.
    """
    interrupts.leave_when_told()
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
    try:
        status = run()
        interrupts.flush()
        interrupts.leave_when_told()
    except KeyboardInterrupt:  # again, while the command ended
        status = interrupts.status()
    if interrupts.was_told():
        interrupts.leave(status)
    sys.exit(status)


def _open_closed_streams() -> None:
    """Gives a process that was started with closed streams silent ones, as some services do it.

    Else the first file that is opened takes a stream's number, and is written to as that.
    """
    from pathlib import Path

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
