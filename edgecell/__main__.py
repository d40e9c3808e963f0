"""The console script: checks that the command line is installed, then runs it."""

import sys


def main() -> None:
    """Runs ``edgecell``; exits with 0 done, 1 failed or refused, 2 wrong usage, 3 some skipped."""
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


if __name__ == "__main__":
    main()
